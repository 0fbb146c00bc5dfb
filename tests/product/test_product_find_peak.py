"""`--mode find_peak` against a system of known capacity: the peak beside the true one.

The true one comes from a model: the plan's own arrivals into a queue of one server with a constant
service time, searched in the same way.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from product_runs import Finished, run
from sut_process import sut_server

from loadgen_service.core.plan.plan import SampleCounts, peak_series, plan_series, series_specs
from loadgen_service.core.search.peak_search import PeakSearch, replay
from loadgen_service.core.settings import Settings

SERVICE_MS = 8.0
"""One after the other: 125 a second."""
COUNTS = SampleCounts(32, 32)
ASKED = {
    "scenario": "server",
    "mode": "find_peak",
    "target_qps": 40.0,
    "target_latency_ms": 60,
    "min_duration_ms": 1000,
    "min_query_count": 40,
    "find_peak_decimals_of_precision": 0,
    "find_peak_boundary_step_size": 1.0,
}
TOLERANCE = 0.15
"""The model knows no network, and no machine that is busy with something else."""


def keeps_limit(settings: Settings, rate: float, service_ms: float) -> bool:
    """Whether the 99th percentile of a first-come-first-served queue is within the limit."""
    spec = peak_series(series_specs(settings, COUNTS)[-1], 0, rate)
    due = plan_series(settings, COUNTS, spec).scheduled_ns
    free, latency = 0, np.empty(len(due), np.int64)
    for place, at in enumerate(due.tolist()):
        free = max(free, at) + int(service_ms * 1e6)
        latency[place] = free - at
    return bool(np.sort(latency)[int(len(due) * 0.99)] <= settings.latency_limit_ns)


def true_peak(settings: Settings) -> float:
    search = PeakSearch.of(settings)
    while search.next_qps is not None:
        search.record(keeps_limit(settings, search.next_qps, SERVICE_MS))
    assert search.peak_qps is not None
    return search.peak_qps


def searched(done: Finished) -> list[bool]:
    """Whether each series of the search passed, as its journal says."""
    lines = (done.out / "journal.jsonl").read_text().splitlines()
    entries = map(json.loads, lines)
    return [entry["passed"] for entry in entries if entry["event"] == "searched"]


def search_by_run(out: Path) -> tuple[float | None, Finished]:
    """The peak of a real run, which follows from the verdicts of its own series."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in ASKED.items()]
    service = f"--service-time=constant:{SERVICE_MS}"
    with sut_server("--model=synthetic", service, "--concurrency-limit=1") as server:
        done = run(
            out, "--sut", f"grpc://{server.host_port}", "--model", "synthetic",
            "--dataset", "random", "--total-sample-count", "32", *flags,
        )  # fmt: skip
    search, _ = replay(Settings(**ASKED), searched(done))
    found: float | None = done.summary["peak_qps"]
    assert search.next_qps is None, done.said
    assert search.peak_qps == found, done.said
    return found, done


def test_the_peak_follows_from_the_verdicts_and_is_never_above_the_true_one(tmp_path: Path) -> None:
    """Whatever else the machine does can only lower it."""
    found, done = search_by_run(tmp_path / "run")
    assert (found or 0.0) <= (1 + TOLERANCE) * true_peak(Settings(**ASKED))
    assert found is None or "peak " in done.said
    assert (done.out / "mlperf_log_summary.txt").is_file()


@pytest.mark.long
def test_the_peak_is_the_true_one(tmp_path: Path, record_property) -> None:
    """On a quiet machine."""
    found, true = search_by_run(tmp_path / "run")[0] or 0.0, true_peak(Settings(**ASKED))
    print(f"peak {found:.1f} queries/s, true peak {true:.1f}, capacity {1000 / SERVICE_MS:.0f}")
    record_property("peak_qps", found)
    record_property("true_peak_qps", true)
    assert abs(found / true - 1) <= TOLERANCE
