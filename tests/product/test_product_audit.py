"""`loadgen audit` against an honest system and two cheats, over sockets, by the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sut_process import sut_server

AUDIT_S = 120.0
"""No audit of these tests takes so long."""

# fmt: off
STREAM = ("--scenario", "single_stream", "--expected-latency-ms", "10", "--min-duration-ms", "0",
          "--min-query-count", "130", "--data-seed", "1")
"""130 queries: their five slowest do not count, so a busy machine does not decide."""
OFFLINE = ("--scenario", "offline", "--target-qps", "50", "--min-duration-ms", "0",
           "--min-query-count", "90", "--data-seed", "2")
"""Data of its own: what an earlier test sent may lie in the cache."""
# fmt: on


@pytest.fixture(scope="module")
def systems() -> Iterator[str]:
    """One server with all three; each has a queue of its own."""
    models = [f"--model=python:audit_suts:{name}" for name in ("Honest", "Caching", "Careless")]
    with sut_server(*models, "--max-batch", "1", cwd=Path(__file__).parent) as server:
        yield f"grpc://{server.host_port}"


def audit(
    test: str, systems: str, model: str, out: Path, samples: int, *flags: str, engine="mlcommons"
):
    count = str(samples)
    return subprocess.run(
        [sys.executable, "-m", "loadgen_service", "audit", test, "--sut", systems,
         "--model", model, "--dataset", "random", "--total-sample-count", count,
         "--performance-sample-count", count, "--quiet", "--engine", engine,
         "--out", str(out), *flags],
        capture_output=True, text=True, timeout=AUDIT_S, check=False,
    )  # fmt: skip


def report(out: Path, test: str) -> dict:
    return json.loads((out / test / "audit.json").read_text())


@pytest.mark.parametrize("flags", [STREAM, OFFLINE], ids=["single_stream", "offline"])
def test_a_caching_system_is_caught_by_test04(systems, tmp_path, flags):
    done = audit("TEST04", systems, "caching", tmp_path, 400, *flags)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("TEST04 FAIL")
    assert any("answers are cached" in one for one in report(tmp_path, "TEST04")["reasons"])
    assert "TEST PASS" not in (tmp_path / "TEST04" / "verify_performance.txt").read_text()


def test_a_system_that_is_less_accurate_in_performance_runs_is_caught_by_test01(systems, tmp_path):
    done = audit("TEST01", systems, "careless", tmp_path, 30, *OFFLINE)
    assert done.returncode == 1, done.stdout + done.stderr
    told = report(tmp_path, "TEST01")
    accuracy = next(part for part in told["parts"] if part["name"] == "accuracy")
    assert not accuracy["passed"]
    assert "responses differ from the accuracy run's" in told["reasons"][0]
    assert (tmp_path / "TEST01" / "accuracy" / "mlperf_log_accuracy_baseline.json").is_file()


def test_an_honest_system_passes_test01_and_test04(systems, tmp_path):
    """TEST04 takes TEST01's reference run for its own."""
    done = audit("TEST01", systems, "honest", tmp_path / "a", 30, *OFFLINE)
    told = report(tmp_path / "a", "TEST01")
    assert next(part for part in told["parts"] if part["name"] == "accuracy")["passed"], told
    entries = json.loads((tmp_path / "a/TEST01/accuracy/mlperf_log_accuracy.json").read_text())
    assert len(entries) >= 90  # so few that the sampling target of 4096 logs all of them
    assert done.returncode == 0, done.stdout + done.stderr
    reference = str(tmp_path / "a" / "runs" / "performance")
    done = audit(
        "TEST04", systems, "honest", tmp_path / "b", 30, *OFFLINE, "--performance-run", reference
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert report(tmp_path / "b", "TEST04")["runs"]["performance"] == reference
    assert (tmp_path / "b/TEST04/verify_performance.txt").read_text().endswith("TEST PASS\n")


def test_our_own_engine_catches_the_caching_system(systems, tmp_path):
    own_data = (*STREAM[:-1], "3")  # nothing of it lies in the cache
    done = audit("TEST04", systems, "caching", tmp_path, 400, *own_data, engine="native")
    assert done.returncode == 1, done.stdout + done.stderr
    assert any("answers are cached" in one for one in report(tmp_path, "TEST04")["reasons"])


def test_our_own_engine_passes_and_fails_test01(systems, tmp_path):
    done = audit("TEST01", systems, "honest", tmp_path / "a", 30, *OFFLINE, engine="native")
    assert done.returncode == 0, done.stdout + done.stderr
    entries = json.loads((tmp_path / "a/TEST01/accuracy/mlperf_log_accuracy.json").read_text())
    assert len(entries) >= 90
    done = audit("TEST01", systems, "careless", tmp_path / "b", 30, *OFFLINE, engine="native")
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        "responses differ from the accuracy run's" in report(tmp_path / "b", "TEST01")["reasons"][0]
    )


@pytest.mark.parametrize("engine", ["native", "mlcommons"])
def test_streamed_tokens_pass_test06(tmp_path, engine):
    flags = ("--scenario", "server", "--target-qps", "100", "--use-token-latencies")
    with sut_server("--model=synthetic-stream", "--token-count", "constant:5") as server:
        address = f"grpc://{server.host_port}"
        done = audit(
            "TEST06", address, "synthetic-stream", tmp_path, 20, *flags,
            "--eos-token-id", "77", engine=engine,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    log = json.loads((tmp_path / "runs/audit/mlperf_log_accuracy.json").read_text())
    assert len(log) == 100
    assert {(one["token_data"], one["token_count"]) for one in log} == {("00000000", 5)}


def test_a_setting_that_no_run_can_follow_is_the_users_mistake(systems, tmp_path):
    done = audit("TEST04", systems, "honest", tmp_path, 3, *OFFLINE)
    assert done.returncode == 2
    assert "the audit run: performance_issue_same_index: 3 is beyond 3" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["TEST02"], "no compliance test TEST02"),
        (["custom-data"], "custom_dataset: name the other data"),
        (["TEST04", "--custom-dataset", "zeros"], "only custom-data sends other data"),
        (["TEST04", "--accuracy-run", "."], "TEST04 needs no accuracy run"),
        (["TEST04", "--performance-run", "nowhere"], "no such directory"),
        (["TEST04", "--mode", "accuracy"], "sets it itself"),
        (["TEST01", "--data-type", "int7"], "data_type int7"),
        (["TEST01", "--accuracy-command", "score"], "names the log as {accuracy_log}"),
        (["TEST04"], "sut, model: name both"),
    ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path, arguments, words):
    from loadgen_service.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["audit", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
