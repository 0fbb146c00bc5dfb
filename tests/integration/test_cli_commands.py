"""The commands as a user gives them: exit codes, stdout for machines, a service elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sut_process import sut_server

COMMAND_S = 60.0
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with sut_server("--model", "null") as sut:
        yield sut.host_port


def loadgen(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadgen_service", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def server_flags(address: str) -> list[str]:
    return [
        *("--sut", f"grpc://{address}", "--model", "null", "--scenario", "server"),
        *("--target-qps", "400", "--min-duration-ms", "1500", "--issue-delay-budget-ms", "500"),
        *("--target-latency-ms", "1000"),
    ]


def test_a_valid_run_is_0_and_its_plan_is_the_planned_one(address, tmp_path):
    flags = [*server_flags(address), "--total-sample-count", "100"]
    done = loadgen("run", *flags, "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["valid"] is True
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"settings.yaml", "summary.json", "records.parquet", "report.txt"} <= files
    planned = loadgen("plan", *flags, "--out", "plan", "--json", cwd=tmp_path)
    assert json.loads(planned.stdout)["plan_hash"] == summary["plan_hash"]
    records = pq.read_table(tmp_path / "out" / "records.parquet")
    plan = pq.read_table(tmp_path / "plan" / "plan.parquet")
    for column in ("sample_index", "scheduled_ns"):
        assert records[column].to_pylist() == plan[column].to_pylist()
    again = loadgen("report", "out", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, (tmp_path / "out/report.txt").read_text())


def test_the_settings_of_a_run_repeat_it(address, tmp_path):
    first = loadgen("run", *server_flags(address), "--out", "one", "--json", cwd=tmp_path)
    again = loadgen(
        *("run", "--config", "one/settings.yaml", "--out", "two", "--json", "--quiet"), cwd=tmp_path
    )
    assert again.stderr == ""
    hashes = [json.loads(done.stdout)["plan_hash"] for done in (first, again)]
    assert hashes[0] == hashes[1]


def test_an_invalid_run_is_1_and_the_table_says_why(address, tmp_path):
    done = loadgen(
        *("run", *server_flags(address), "--target-latency-ms", "0.001", "--out", "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "INVALID" in done.stdout
    assert "server: latency:" in done.stdout
    assert loadgen("report", "out", cwd=tmp_path).returncode == 1


def test_ctrl_c_drains_and_leaves_a_partial_result(address, tmp_path):
    flags = [*server_flags(address), "--min-duration-ms", "60000", "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "loadgen_service", "run", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stderr
    for line in process.stderr:
        if "issuing" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=COMMAND_S)
    assert process.returncode == 3, err
    assert "INTERRUPTED" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    counts = summary["counts"]["queries"]
    assert summary["state"] == "INTERRUPTED"
    assert counts["planned"] == counts["not_issued"] + counts["completed"] + counts["failed"] + (
        counts["timed_out"] + counts["lost"]
    )


@contextmanager
def started(*arguments: str, cwd: Path, ready: str = "") -> Iterator[str]:
    """A ``loadgen`` process until the block ends; gives the last word of its ready line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loadgen_service", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "LOADGEN_TOKEN": TOKEN},
    )
    try:
        assert process.stdout
        line = process.stdout.readline() if ready else ""
        assert ready in line
        yield line.rsplit(" ", 1)[-1].strip()
    finally:
        process.terminate()
        process.wait(COMMAND_S)


def test_a_service_elsewhere_runs_it_and_its_files_come_home(address, tmp_path):
    flags = ["serve", "--port", "0", "--results", "there"]
    with (
        started(*flags, cwd=tmp_path, ready="ready on ") as service,
        started("worker", "--coordinator", service, cwd=tmp_path),
        started("worker", "--coordinator", service, cwd=tmp_path),
    ):
        run = ["run", "--service", service, *server_flags(address), "--workers", "2"]
        refused = loadgen(*run, cwd=tmp_path)
        assert refused.returncode == 2
        assert "token" in refused.stderr
        done = loadgen(*run, "--out", "here", cwd=tmp_path, LOADGEN_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert "results: here" in done.stdout
    (there,) = (tmp_path / "there").iterdir()
    for name in ("summary.json", "records.parquet"):
        assert (there / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    summary = json.loads((tmp_path / "here" / "summary.json").read_text())
    assert len(summary["workers"]) == 2


def test_a_service_that_is_not_there_is_the_users_mistake(address, tmp_path):
    done = loadgen("run", "--service", "127.0.0.1:1", *server_flags(address), cwd=tmp_path)
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr


def test_several_runs_are_one_table(tmp_path):
    done = loadgen("report", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr
