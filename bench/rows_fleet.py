"""What a hundred workers cost the coordinator: a model from small fleets, checked on a large one.

Cost = workers * (a worker's words) + batches * (a batch) + records * (a record), in CPU seconds a
second, fitted to fleets of up to 40 simulated workers and compared with 100 of them.
"""

from __future__ import annotations

import json
import tempfile

import numpy as np
from harness import Result
from processes import CLIENT_CORE, PEERS, SERVER_CORE, output_of, python, started

SMALL = ((10, 100, 10), (40, 100, 10), (40, 100, 2), (10, 4000, 10), (20, 2000, 10))
"""Fleets of the fit: workers, queries a second of each, batches a second of each."""

LARGE = (100, 500, 10)

Fleet = tuple[int, int, int]


def core_share(fleet: Fleet, seconds: float) -> float:
    """CPU seconds a second that the service spends on this fleet."""
    with tempfile.TemporaryDirectory() as folder:
        argv = python(str(PEERS / "fleet_service.py"), folder)
        with started(argv, CLIENT_CORE, "ready") as (line, pid):
            said = json.loads(line)
            flags = [said["ready"], said["token"], str(pid), *map(str, fleet), str(seconds)]
            argv = python(str(PEERS / "fleet_workers.py"), *flags)
            found = json.loads(output_of(argv, SERVER_CORE, 60.0).splitlines()[-1])
    return float(found["cpu_s"] / found["wall_s"])


def features(fleet: Fleet) -> list[float]:
    """Workers, batches a second, records a second of the whole fleet."""
    workers, qps, batches = fleet
    return [workers, workers * batches, workers * qps]


def hundred_workers(quick: bool) -> list[Result]:
    """The cost of a large fleet beside what small ones foretell."""
    seconds = 1.5 if quick else 4.0
    small, large = (
        (((2, 50, 5), (6, 50, 5), (4, 200, 2)), (12, 100, 5)) if quick else (SMALL, LARGE)
    )
    costs = [core_share(fleet, seconds) for fleet in small]
    model, *_ = np.linalg.lstsq(np.array([features(f) for f in small]), np.array(costs), rcond=None)
    foretold = float(np.dot(features(large), model))
    measured = core_share(large, seconds)
    ratio = min(measured, foretold) / max(measured, foretold)
    workers, qps, batches = large
    return [
        Result(
            f"coordinator: {workers} workers, {workers * qps:,}/s in {workers * batches}"
            " batches/s (nearness of model and measurement)",
            f"model from fleets of {small[0][0]} to {max(f[0] for f in small)}",
            "core", None, ours_figure=measured, peer_figure=foretold,
            ratio=ratio, ratio_min=ratio, ratio_max=ratio, rounds=1,
            beside={
                "us a worker and second": model[0] * 1e6,
                "us a batch": model[1] * 1e6,
                "us a record": model[2] * 1e6,
            },
            notes={"fleets": list(small), "core_share": costs},
        )
    ]  # fmt: skip
