"""``loadgen run --each`` against two real servers, one of them slow, and one that is not there."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from sut_process import sut_server

from loadgen_service.cli.main import main

FLAGS = (
    "--model", "synthetic", "--scenario", "server", "--target-qps", "100", "--min-duration-ms",
    "1500", "--min-query-count", "100", "--target-latency-ms", "2000", "--quiet",
    "--target-latency-percentile", "90", "--issue-delay-budget-ms", "2000",
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))


def test_every_sut_gets_the_whole_plan_and_its_own_verdict(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with (
        socket.socket() as held,
        sut_server("--model", "synthetic") as quick,
        sut_server("--model", "synthetic", "--service-time", "constant:400000") as slow,
    ):
        held.bind(("127.0.0.1", 0))
        ports = (quick.port, slow.port, held.getsockname()[1])
        suts = ",".join(f"grpc://127.0.0.1:{port}" for port in ports)
        code = main(["run", "--sut", suts, "--each", "--out", str(out), *FLAGS,
                     "--connect-timeout-ms", "500"])  # fmt: skip
    said = capfd.readouterr()
    assert code == 2  # the worst: one cannot be reached
    assert "cannot reach" in said.err
    index = json.loads((out / "each.json").read_text())
    first, second, third = index["suts"]
    assert (first["exit_code"], third["exit_code"], third["valid"]) == (0, 2, None)
    assert first["plan_hash"] == second["plan_hash"] != ""
    for number, port in enumerate(ports[:2]):
        summary = json.loads((out / f"sut-0{number}" / "summary.json").read_text())
        assert summary["suts"][0]["address"].endswith(str(port))
        assert summary["counts"]["queries"]["planned"] > 100
    assert index["outliers"] == [line for line in said.out.splitlines() if "outlier" in line]
    assert str(slow.port) in index["outliers"][0]


def test_one_sut_is_no_comparison(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--sut", "grpc://127.0.0.1:1", "--each", *FLAGS]) == 2
    assert "each: name several SUTs" in capfd.readouterr().err
