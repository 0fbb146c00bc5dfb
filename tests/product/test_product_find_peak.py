"""`--mode find_peak` against a system of known capacity: the peak beside the true one.

The true one comes from a model: the plan's own arrivals into a queue of one server with a constant
service time, searched in the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from product_runs import run
from sut_process import sut_server

from loadgen_service.core.plan.plan import SampleCounts, peak_series, plan_series, series_specs
from loadgen_service.core.search.peak_search import PeakSearch
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


def test_the_peak_is_the_true_one(tmp_path: Path, record_property) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in ASKED.items()]
    service = f"constant:{SERVICE_MS}"
    with sut_server(
        "--model=synthetic", f"--service-time={service}", "--concurrency-limit=1"
    ) as server:
        done = run(
            tmp_path / "run", "--sut", f"grpc://{server.host_port}", "--model", "synthetic",
            "--dataset", "random", "--total-sample-count", "32", *flags,
        )  # fmt: skip
    found, true = done.summary["peak_qps"], true_peak(Settings(**ASKED))
    print(f"peak {found:.1f} queries/s, true peak {true:.1f}, capacity {1000 / SERVICE_MS:.0f}")
    record_property("peak_qps", found)
    record_property("true_peak_qps", true)
    assert abs(found / true - 1) <= TOLERANCE
    assert "peak " in done.said
    assert (tmp_path / "run" / "mlperf_log_summary.txt").is_file()
