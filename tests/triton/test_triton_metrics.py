"""The real Triton's metrics through a run: its counters grow by what the run completed."""

from __future__ import annotations

import json
from collections import defaultdict

import pyarrow.parquet as pq
import pytest
from triton_runs import run

pytestmark = pytest.mark.triton


def test_counters_and_gauges_lie_in_the_run_directory(
    triton_address, triton_metrics_address, tmp_path
):
    url = f"http://{triton_metrics_address}/metrics"
    summary = run(
        triton_address,
        tmp_path / "run",
        *("--scenario", "server", "--target-qps", "15", "--min-duration-ms", "5000"),
        *("--target-latency-ms", "2000", "--target-latency-percentile", "90"),
        *("--sut-metrics", url, "--sut-metrics-interval-ms", "500"),
    )
    (target,) = summary["sut_metrics"]
    assert (target["failed_count"], target["failure"]) == (0, "")
    values = defaultdict(list)
    for row in pq.read_table(tmp_path / "run" / "sut_metrics.parquet").to_pylist():
        if json.loads(row["labels"]).get("model", "") in ("", "efficientnet-lite0"):
            values[row["name"]].append(row["value"])
    completed = summary["counts"]["requests"]["completed"]
    success = values["nv_inference_request_success"]
    assert 0 < success[-1] - success[0] <= completed
    # without a GPU Triton has no nv_gpu_ metrics, and its host's stand in their place
    figures = {
        one["name"]: one
        for one in target["figures"]
        if one["labels"].get("model", "") in ("", "efficientnet-lite0")
    }
    assert figures["nv_cpu_memory_used_bytes"]["min"] > 0
    assert 0 < figures["nv_inference_request_success"]["per_second"] < 2 * 15
