"""How the cost of a query grows with what is asked: bench/curves.json, drawn by draw_curves.py.

``python bench/run.py curves``. Every point is a closed loop of the whole product on one core
(two for two workers) against a null or synthetic sut-server on the other. CPU time is that of all
our processes less what a run of no length costs.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import clients
from harness import FAILURES, Result, reason_of
from processes import (
    BENCH_VENV,
    CLIENT_CORE,
    COMMAND_S,
    SERVER_CORE,
    RowFailed,
    output_of,
    sut_server,
)

OUTSTANDING = (1, 4, 16, 64, 256, 1024)
ELEMENTS = (16, 256, 4096, 16384, 150_528, 1_048_576)
CONNECTIONS = (1, 2, 4, 8, 16, 32)
SUTS = (1, 2, 4, 8)
WORKERS = (1, 2)
QUERIES = (10_000, 100_000, 1_000_000, 2_000_000)
LONG_QUERIES = (10_000_000, 100_000_000)
LONG_S = 1_800.0
RUN_LENGTH = "queries in the run"
BUDGET_S = 240.0
"""Points that would begin later are left out, and said so."""

Point = dict[str, float]
Curves = dict[str, list[Point]]


def cpu_s() -> float:
    """CPU time of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Meter:
    """Measures runs; ``seconds`` is the length of each."""

    def __init__(self, seconds: float, budget_s: float = BUDGET_S) -> None:
        self._seconds = seconds
        self._until_s = time.monotonic() + budget_s
        self._start_s = 0.0

    def learn_start(self, address: str) -> None:
        """What a run of next to no length costs."""
        before = cpu_s()
        clients.product_summary(address, 1, 0.05)
        self._start_s = cpu_s() - before

    def point(
        self,
        x: float,
        address: str,
        outstanding: int,
        *flags: str,
        limit_s: float = COMMAND_S,
        **more: str,
    ) -> Point:
        """One run: queries a second, and CPU microseconds a query."""
        if time.monotonic() > self._until_s:
            raise RowFailed("the time for curves is over")
        before = cpu_s()
        summary = clients.product_summary(
            address, outstanding, self._seconds, more.get("model", "null"), *flags,
            core=more.get("cores", CLIENT_CORE), limit_s=limit_s,
        )  # fmt: skip
        count = summary["counts"]["queries"]["completed"]
        spent = max(0.0, cpu_s() - before - self._start_s)
        found = {"x": x, "qps": summary["completed_qps"], "cpu_us": spent / count * 1e6}
        print(json.dumps(found), flush=True)
        return found


def null_curves(meter: Meter, found: Curves) -> None:
    """Curves on null servers."""
    both = f"{CLIENT_CORE},{SERVER_CORE}"
    with ExitStack() as stack:
        servers = [stack.enter_context(sut_server("--model", "null"))[0] for _ in range(max(SUTS))]
        one = servers[0]
        meter.learn_start(one)
        _curve(found, "outstanding", OUTSTANDING, lambda n: meter.point(n, one, n))
        _curve(
            found,
            "connections",
            CONNECTIONS,
            lambda n: meter.point(n, one, 64, "--connections", str(n)),
        )
        _curve(found, "SUTs", SUTS, lambda n: meter.point(n, ",".join(servers[:n]), 64))
        _curve(
            found,
            "workers",
            WORKERS,
            lambda n: meter.point(n, one, 64, "--workers", str(n), cores=both),
        )
        _curve(found, RUN_LENGTH, QUERIES,
               lambda n: meter.point(n, one, 64, "--min-query-count", str(n)))  # fmt: skip


def payload_curve(meter: Meter, found: Curves) -> None:
    """Requests of 64 bytes to 4 MiB of tensor, 8 outstanding."""

    def point(elements: int) -> Point:
        flags = ("--model", "synthetic", "--service-time", "constant:0", "--max-batch", "1")
        with sut_server(*flags, "--input-elements", str(elements)) as (address, _):
            return meter.point(4 * elements, address, 8, model="synthetic")

    _curve(found, "bytes of tensor", ELEMENTS, point)


def run_length(quick: bool) -> list[Result]:
    """Add runs of 10^7 and 10^8 queries to the curves: some 15 minutes, and 12 GB of memory."""
    meter = Meter(0.05, budget_s=LONG_S)
    path = Path(__file__).parent / "curves.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    kept = [point for point in found.get(RUN_LENGTH, ()) if point["x"] < LONG_QUERIES[0]]
    with sut_server("--model", "null") as (address, _):
        meter.learn_start(address)
        for count in LONG_QUERIES[:1] if quick else LONG_QUERIES:
            flags = ("--min-query-count", str(count))
            point = meter.point(count, address, 64, *flags, limit_s=LONG_S)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{count} queries: largest process {peak:,.0f} MiB", flush=True)
            kept.append({**point, "peak_mib": round(peak)})
    if not quick:
        path.write_text(json.dumps(found | {RUN_LENGTH: kept}, indent=1) + "\n")
        _draw()
    return []


def _draw() -> None:
    drawing = str(Path(__file__).parent / "draw_curves.py")
    output_of([str(BENCH_VENV / "bin" / "python"), drawing], CLIENT_CORE)


def _curve(
    found: Curves, name: str, values: Sequence[int], measure: Callable[[int], Point]
) -> None:
    """Keep what was measured, should a later point fail."""
    found[name] = []
    for value in values:
        found[name].append(measure(value))


def measure_curves(quick: bool) -> list[Result]:
    """Write bench/curves.json and its picture; a row for what could not be measured or drawn."""
    global OUTSTANDING, CONNECTIONS, SUTS, QUERIES, ELEMENTS
    if quick:
        OUTSTANDING, CONNECTIONS, SUTS, QUERIES = (1, 64), (1, 8), (1, 2), (10_000,)
        ELEMENTS = (16, 150_528)
    meter = Meter(0.5 if quick else 2.0)
    found: Curves = {}
    failed = []
    for make in (null_curves, payload_curve):
        try:
            make(meter, found)
        except FAILURES as error:
            failed.append(reason_of(error))
    if not quick:
        path = Path(__file__).parent / "curves.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        long_ones = [one for one in before.get(RUN_LENGTH, ()) if one["x"] >= LONG_QUERIES[0]]
        found.setdefault(RUN_LENGTH, []).extend(long_ones)  # measured where they are asked for
        path.write_text(json.dumps(found, indent=1) + "\n")
        try:
            _draw()
        except FAILURES as error:
            failed.append(reason_of(error))
    return [Result("cost curves", "-", "", None, reason=reason) for reason in failed]
