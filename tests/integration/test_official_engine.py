"""``--engine mlcommons`` against real servers: the official LoadGen's logs beside our own records
of the same queries, and an end in bounded time whatever becomes of the SUT.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sut_process import sut_server

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.settings import Settings

RUN_S = 80.0
TOTAL, PERFORMANCE = 300, 100
COMMON: dict[str, Any] = {
    "engine": "mlcommons",
    "model": "null",
    "total_sample_count": TOTAL,
    "performance_sample_count": PERFORMANCE,
    "issue_delay_budget_ms": 5000,
}
SCENARIOS: dict[str, dict[str, Any]] = {
    "single_stream": {"min_query_count": 300, "min_duration_ms": 0},
    "multi_stream": {"min_query_count": 60, "min_duration_ms": 0},
    "server": {
        "target_qps": 400.0,
        "min_query_count": 500,
        "min_duration_ms": 500,
        "target_latency_ms": 5000,
    },
    "offline": {"target_qps": 100.0, "min_query_count": 2000, "min_duration_ms": 1},
}


def command(out: Path, address: str, **settings: Any) -> list[str]:
    given = {**COMMON, **settings, "sut": f"grpc://{address}", "out": out}
    words = [
        word
        for name, value in given.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return [sys.executable, "-m", "loadgen_service", "run", "--quiet", *words]


def run(out: Path, address: str, **settings: Any) -> dict[str, Any]:
    done = subprocess.run(
        command(out, address, **settings), capture_output=True, text=True, timeout=RUN_S
    )
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads((out / "summary.json").read_text()))


def detail(out: Path) -> dict[str, Any]:
    lines = (out / "mlperf_log_detail.txt").read_text().splitlines()
    entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
    return {entry["key"]: entry["value"] for entry in entries}


def finding(summary: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in summary["findings"] if one["name"] == name)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_official_log_and_our_records_tell_of_the_same_queries(tmp_path, scenario):
    wanted = {**SCENARIOS[scenario], "scenario": scenario}
    with sut_server("--model", "null") as sut:
        summary = run(tmp_path / "run", sut.host_port, **wanted)
    official = detail(tmp_path / "run")
    assert official["sut_name"] == "Network SUT: sut-server null"
    assert official["result_query_count"] == summary["counts"]["queries"]["issued"]
    assert official["result_validity"] == ("VALID" if summary["official"]["valid"] else "INVALID")
    assert finding(summary, "official_counts")["met"]
    assert "mlperf_log_summary.txt" in {path.name for path in (tmp_path / "run").iterdir()}
    # the samples, in the order of the plan that our settings give
    settings = Settings(**{**COMMON, **wanted})
    counts = SampleCounts(TOTAL, PERFORMANCE)
    plan = plan_series(settings, counts, series_specs(settings, counts)[-1])
    table = pq.read_table(tmp_path / "run" / "records.parquet").to_pydict()
    issued = [s for s, status in zip(table["sample_index"], table["status"], strict=True) if status]
    assert len(issued) == summary["counts"]["samples"]["completed"]
    assert issued == plan.samples[: len(issued)].tolist()
    assert official["loaded_qsl_set"] == plan.spec.loaded.tolist()
    # both clocks saw every answer: LoadGen's stamp is taken right beside ours
    done = max(table["completed_ns"])
    assert done > 0
    assert summary["data_crossed_network"] is True


def test_a_submission_run_logs_every_answer_once_per_set(tmp_path):
    with sut_server("--model", "null") as sut:
        summary = run(
            tmp_path / "run", sut.host_port, scenario="offline", mode="submission",
            target_qps=100.0, min_query_count=500, min_duration_ms=1,
        )  # fmt: skip
    entries = json.loads((tmp_path / "run" / "mlperf_log_accuracy.json").read_text())
    assert sorted(entry["qsl_idx"] for entry in entries) == list(range(TOTAL))
    assert {entry["data"] for entry in entries} == {"00000000"}  # the null model's one FP32
    assert len(summary["series"]) == TOTAL // PERFORMANCE + 1


def test_a_sut_that_dies_ends_the_run_and_spoils_it(tmp_path):
    with sut_server("--model", "null") as sut:
        process = subprocess.Popen(
            command(
                tmp_path / "run", sut.host_port, scenario="server", target_qps=100.0,
                min_query_count=100, min_duration_ms=4000,
            ),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            _wait_for_start(tmp_path / "run", process)
            sut.process.kill()
            _, said = process.communicate(timeout=RUN_S)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 1, said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["valid"] is False
    assert not finding(summary, "error_budget")["met"]
    counts = summary["counts"]["samples"]
    assert counts["failed"] + counts["timed_out"] > 0
    assert counts["planned"] == counts["issued"] + counts["not_issued"]


def test_an_interrupt_ends_a_run_that_the_official_loadgen_would_go_on_with(tmp_path):
    with sut_server("--model", "null") as sut:
        process = subprocess.Popen(
            command(
                tmp_path / "run", sut.host_port, scenario="server", target_qps=50.0,
                min_query_count=100, min_duration_ms=600_000,
            ),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            _wait_for_start(tmp_path / "run", process)
            os.kill(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=RUN_S)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 3, said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "INTERRUPTED"
    assert "left before" in finding(summary, "official_verdict")["measured"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"workers": 2}, "workers: "),
        ({"scenario": "burst"}, "engine: "),
        ({"scenario": "offline", "samples_per_request": 4}, "samples_per_request: "),
        ({"mode": "find_peak"}, "engine: "),
    ],
)
def test_what_the_official_engine_cannot_do_is_one_line(tmp_path, wrong, named):
    done = subprocess.run(
        command(tmp_path / "run", "127.0.0.1:1", **wrong),
        capture_output=True, text=True, timeout=RUN_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"loadgen run: {named}")
    assert done.stderr.count("\n") == 1


def _wait_for_start(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the journal says that the series began, and a little load was issued."""
    deadline = time.monotonic() + RUN_S
    journal = out / "journal.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and '"start"' in journal.read_text():
            time.sleep(1.0)
            return
        time.sleep(0.05)
    raise AssertionError("the run did not start")
