"""Rows about cost: planning, the collector, exact percentiles, memory, start-up time."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
import time
from pathlib import Path

import clients
import numpy as np
from harness import Result, Row, Side
from processes import CLIENT_CORE, PEERS, RowFailed, on_core, output_of, python, sut_server

PLANNED = 10_000_000
VALUES = 100_000_000
GIB = 1 << 30


def planning(quick: bool) -> list[Row]:
    """A plan of ten million queries beside the official LoadGen's generation of the same."""
    queries = PLANNED // 100 if quick else PLANNED

    def seconds(side: str) -> float:
        argv = python(str(PEERS / "plan_generation.py"), side, str(queries))
        return float(output_of(argv, CLIENT_CORE).split()[-1])

    return [
        Row(f"plan of {queries:,} Server queries", "s", Side("ours", lambda: seconds("ours")),
            Side("official LoadGen", lambda: seconds("official")), 1.0, inverse=True, rounds=3)
    ]  # fmt: skip


def collector(quick: bool) -> list[Row]:
    """Durable records a second beside the highest rate of one worker, on one core each."""
    seconds = 2.0 if quick else 6.0
    growth: list[float] = []

    def taken_in() -> float:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            argv = python(str(PEERS / "collector_ingest.py"), str(seconds), folder)
            found = json.loads(output_of(argv, CLIENT_CORE).splitlines()[-1])
        growth.append(found["rss_growth_bytes"] / 1e6)
        return float(found["records_per_s"])

    def worker_rate() -> float:
        with sut_server("--model", "null") as (address, _):
            return clients.product(address, 64, 2.0)

    return [
        Row("collector: records in and durable, one core", "records/s",
            Side("collector", taken_in), Side("one worker's highest rate", worker_rate), 20.0,
            rounds=2, beside=(Side("memory growth over the run, MB", lambda: max(growth)),))
    ]  # fmt: skip


def percentiles(quick: bool) -> list[Result]:
    """100 million latencies from disk: the same integers as numpy on all, within 1 GiB."""
    count = VALUES // 100 if quick else VALUES
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "latencies"
        draws = np.random.default_rng(1)
        with path.open("wb") as file:
            for _ in range(100):
                draws.lognormal(16, 1, count // 100).astype(np.int64).tofile(file)
        ours, theirs = (
            json.loads(
                output_of(python(str(PEERS / "big_percentiles.py"), how, str(path)), CLIENT_CORE)
            )
            for how in ("disk", "numpy")
        )
    if ours["values"] != theirs["values"]:
        raise RowFailed(f"percentiles differ: {ours['values']} and {theirs['values']}")
    ratio = GIB / ours["peak_bytes"]
    return [
        Result(
            f"exact percentiles of {count:,} records from disk: peak memory (1 GiB over ours)",
            "1 GiB", "MiB", 1.0,
            ours_figure=ours["peak_bytes"] / 2**20, peer_figure=1024.0,
            ratio=ratio, ratio_min=ratio, ratio_max=ratio, rounds=1,
            beside={"ours s": ours["seconds"], "numpy s": theirs["seconds"],
                    "numpy MiB": theirs["peak_bytes"] / 2**20},
        )
    ]  # fmt: skip


def plan_memory(quick: bool) -> list[Result]:
    """Bytes at the peak that a planned query costs a worker."""
    argv = python(str(PEERS / "plan_memory.py"), str(PLANNED // (10 if quick else 1)))
    found = float(output_of(argv, CLIENT_CORE).split()[-1])
    ratio = 100.0 / found
    return [
        Result("worker memory a planned query, at the peak (100 over ours)", "100 bytes", "bytes",
               1.0, ours_figure=found, peer_figure=100.0, ratio=ratio, ratio_min=ratio,
               ratio_max=ratio, rounds=1)
    ]  # fmt: skip


def start_up(quick: bool) -> list[Row]:
    """Wall time of a fresh interpreter, best of several in each round."""
    tries = 3 if quick else 7

    def seconds(*argv: str) -> float:
        return min(_wall_s(python(*argv)) for _ in range(tries))

    bare = "import numpy, pydantic"
    peer = Side(f"python -c '{bare}'", lambda: seconds("-c", bare))
    return [
        Row(what, "s", Side(what, functools.partial(seconds, *argv)), peer, 1 / 1.5, inverse=True)
        for what, argv in (
            ("import loadgen_service", ("-c", "import loadgen_service")),
            ("loadgen --help", ("-m", "loadgen_service", "--help")),
        )
    ]


def _wall_s(argv: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(on_core(CLIENT_CORE, argv), check=True, capture_output=True, timeout=60)
    return time.monotonic() - started
