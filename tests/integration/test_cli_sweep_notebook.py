"""A sweep is runs on disk that can be resumed; a run from Python gives its report."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sut_process import sut_server

import loadgen_service
from loadgen_service.errors import SettingsError, UserError

COMMAND_S = 90.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with sut_server("--model", "null") as sut:
        yield sut.host_port


def sweep(address: str, *flags: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "sweep"),
            *("--sut", f"grpc://{address}", "--model", "null", "--min-duration-ms", "600"),
            *("--min-query-count", "20", "--target-latency-ms", "2000", "--quiet", "--out", "out"),
            *("--issue-delay-budget-ms", "900", "--total-sample-count", "50", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        cwd=cwd,
    )


def test_a_sweep_has_a_run_a_rate_and_goes_on_where_it_stopped(address, tmp_path):
    done = sweep(address, "--target-qps", "100:200:100", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    assert "Highest valid rate" in done.stdout or "No rate was valid" in done.stdout
    out = tmp_path / "out"
    kept = out / "points" / "qps-100" / "summary.json"
    stamp, before = kept.stat().st_mtime_ns, json.loads(kept.read_text())
    (out / "points" / "qps-200" / "summary.json").unlink()
    again = sweep(address, "--target-qps", "100:300:100", cwd=tmp_path)
    assert again.returncode in (0, 1), again.stderr
    assert kept.stat().st_mtime_ns == stamp
    points = pq.read_table(out / "sweep.parquet").to_pylist()
    assert [point["target_qps"] for point in points] == [100, 200, 300]
    assert points[0]["p99_ns"] == before["latency_ns"]["p99"]
    assert (out / points[1]["directory"] / "report.html").exists()
    assert "points/qps-300/report.html" in (out / "sweep.html").read_text()
    other = sweep(address, "--target-qps", "100:200:100", "--connections", "2", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds a sweep with another connections" in other.stderr


@pytest.mark.parametrize(
    ("flags", "guilty"),
    [
        ([], "target_qps"),
        (["--target-qps", "100"], "target_qps"),
        (["--target-qps", "1:2:1", "--scenario", "offline"], "scenario"),
        (["--target-qps", "1:2:1", "--mode", "accuracy"], "mode"),
    ],
)
def test_what_cannot_be_swept_is_one_line(flags, guilty, tmp_path):
    done = sweep("127.0.0.1:9", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"loadgen sweep: {guilty}")


def test_a_run_from_python_gives_its_report(address, tmp_path):
    settings = loadgen_service.Settings(
        sut=[f"grpc://{address}"], model="null", target_qps=200, min_duration_ms=600,
        min_query_count=20, total_sample_count=50, issue_delay_budget_ms=900,
        target_latency_ms=2000,
    )  # fmt: skip
    report = asyncio.run(loadgen_service.run(settings, results=tmp_path))
    assert report.directory.parent == tmp_path
    assert report.summary.counts.queries.planned == report.records().num_rows
    assert report.records(["status"]).column_names == ["status"]
    opened = loadgen_service.open_run(report.directory)
    assert opened == report
    assert opened.settings["target_qps"] == 200
    assert opened.summary.plan_hash in opened._repr_html_()


def test_mistakes_from_python_are_errors_that_name_them(tmp_path):
    with pytest.raises(SettingsError, match="sut, model"):
        asyncio.run(loadgen_service.run(loadgen_service.Settings(), results=tmp_path))
    with pytest.raises(UserError, match="finished run"):
        loadgen_service.open_run(tmp_path)
    with pytest.raises(AttributeError):
        _ = loadgen_service.nothing


def test_importing_the_package_loads_nothing():
    code = "import sys, loadgen_service; print([m for m in ('numpy', 'grpc', 'pyarrow', 'pydantic')"
    done = subprocess.run(
        [sys.executable, "-c", code + " if m in sys.modules])"],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )
    assert done.stdout == "[]\n"
