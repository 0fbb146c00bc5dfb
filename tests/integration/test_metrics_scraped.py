"""Whole runs against a real sut-server: its own /metrics in the run directory, counted exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sut_process import SutProcess, sut_server

from loadgen_service.cli.main import main

MISTAKE = 2


def metrics_url(server: SutProcess) -> str:
    assert server.process.stderr is not None
    port = int(server.process.stderr.readline().rsplit(" ", 1)[1])
    return f"http://127.0.0.1:{port}/metrics"


def run(server: SutProcess, out: Path, *flags: str) -> int:
    return main(
        [
            *("run", "--json", "--quiet", "--sut", f"grpc://{server.host_port}"),
            *("--model", "synthetic", "--scenario", "server", "--target-qps", "100"),
            *("--min-duration-ms", "1000", "--min-query-count", "50", "--out", str(out), *flags),
        ]
    )


def test_the_servers_own_counter_grows_by_what_the_run_completed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with sut_server("--model", "synthetic", "--metrics-port", "0") as server:
        url = metrics_url(server)
        code = run(server, out, "--sut-metrics", url, "--sut-metrics-interval-ms", "100")
    said = capfd.readouterr()
    assert code in (0, 1), said.err
    summary = json.loads(said.out)
    (target,) = summary["sut_metrics"]
    assert target["failed_count"] == 0, target
    rows = pq.read_table(out / "sut_metrics.parquet").to_pylist()
    counted = [
        (row["time_ns"], row["value"])
        for row in rows
        if row["name"] == "sut_server_requests_total" and '"ok"' in row["labels"]
    ]
    records = pq.read_table(out / "records.parquet", columns=["completed_ns"])
    completed = sorted(records["completed_ns"].to_pylist())
    assert len(counted) > 3
    for time_ns, value in counted:
        # an answer that the server counted before it was asked was sent before that, and one
        # that had reached the client when it was asked had been counted
        assert value >= sum(at <= time_ns for at in completed)
        assert value <= summary["counts"]["requests"]["completed"]
    values = [value for _, value in counted]
    assert values == sorted(values)
    assert url in (out / "report.txt").read_text()


def test_an_address_that_is_none_is_a_mistake_and_one_that_is_silent_a_note(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with sut_server("--model", "synthetic") as server:
        wrong = "http://me:secret@127.0.0.1:9/metrics"
        assert run(server, tmp_path / "none", "--sut-metrics", wrong) == MISTAKE
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert "give http://HOST:PORT/metrics" in said
        # the SUT's own port speaks HTTP/2 alone
        other = f"http://{server.host_port}/metrics"
        assert run(server, tmp_path / "run", "--sut-metrics", other) in (0, 1)
    summary = json.loads(capfd.readouterr().out)
    (note,) = [one for one in summary["notes"] if one.startswith("sut_metrics")]
    assert other in note
    assert "the run goes on without its metrics" in note
