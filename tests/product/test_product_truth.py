"""Measured tails against known ones: a SUT that logs what it served, processes that stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from product_runs import Finished, Run, run, stop_for
from sut_process import SutProcess, sut_server

NS_PER_S = 1_000_000_000
STOP_S = 1.0
BEFORE_STOP_S = 3.0
SERVER = (
    "--scenario", "server", "--target-qps", "500", "--min-duration-ms", "10000",
    "--target-latency-ms", "100", "--model", "null",
)  # fmt: skip


def test_measured_service_time_is_the_suts_own_plus_the_way(tmp_path: Path) -> None:
    log = tmp_path / "served.npy"
    with sut_server(
        "--model", "synthetic", "--service-time", "lognormal:10:0.5", "--seed", "7",
        "--service-log", str(log),
    ) as sut:  # fmt: skip
        flags = ("--sut", f"grpc://{sut.host_port}", "--model", "synthetic", "--scenario", "server")
        finished = run(
            tmp_path / "run", *flags, "--target-qps", "150", "--min-duration-ms", "6000",
            "--target-latency-ms", "200",
        )  # fmt: skip
    assert finished.finding("accounting")["met"], finished.said
    served = np.sort(np.load(log))
    measured = finished.summary["service_ns"]
    assert measured["count"] == len(served)
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        own_ns = int(served[int(len(served) * quantile)])
        excess_ns = measured[name] - own_ns
        print(f"{name}: served {own_ns / 1e6:.3f} ms, measured {measured[name] / 1e6:.3f} ms")
        assert 0 < excess_ns < 20_000_000, f"{name}: {excess_ns} ns more than was served"


def _latencies(finished: Finished) -> tuple[float, float, float]:
    """p99 of latency, of lateness, and of service time, seconds."""
    summary = finished.summary
    found = {
        name: summary[name]["p99"] / NS_PER_S for name in ("latency_ns", "late_ns", "service_ns")
    }
    print({"p99, s": found, "reason": summary["invalid_reason"]})
    return tuple(found.values())  # type: ignore[return-value]


@pytest.fixture
def null_sut() -> Iterator[SutProcess]:
    with sut_server("--model", "null") as server:
        yield server


def test_a_stopped_sut_shows_in_latency_and_is_judged_there(
    null_sut: SutProcess, tmp_path: Path
) -> None:
    started = Run(tmp_path / "run", *SERVER, "--sut", f"grpc://{null_sut.host_port}")
    started.wait_for("issuing")
    time.sleep(BEFORE_STOP_S)
    stop_for([null_sut.process.pid], STOP_S)
    finished = started.finish()
    latency_s, late_s, service_s = _latencies(finished)
    assert finished.exit_code == 1, finished.said
    assert 0.8 < latency_s < 1.1
    assert service_s > 0.8
    assert late_s < 0.2
    assert not finished.finding("latency")["met"]
    assert finished.finding("accounting")["met"]


def test_a_stopped_worker_is_the_generators_fault(null_sut: SutProcess, tmp_path: Path) -> None:
    started = Run(tmp_path / "run", *SERVER, "--sut", f"grpc://{null_sut.host_port}")
    started.wait_for("issuing")
    time.sleep(BEFORE_STOP_S)
    stop_for(started.worker_pids(), STOP_S)
    finished = started.finish()
    latency_s, late_s, service_s = _latencies(finished)
    assert finished.exit_code == 1, finished.said
    assert 0.8 < latency_s < 1.1
    assert 0.8 < late_s < 1.1
    assert service_s < 0.2
    assert not finished.finding("generator_late")["met"]
    assert finished.finding("worker_lost")["met"]


def test_a_closed_loop_hides_the_stopped_sut(null_sut: SutProcess, tmp_path: Path) -> None:
    started = Run(
        tmp_path / "run", "--scenario", "concurrency", "--concurrency", "4", "--model", "null",
        "--min-duration-ms", "10000", "--sut", f"grpc://{null_sut.host_port}",
    )  # fmt: skip
    started.wait_for("issuing")
    time.sleep(BEFORE_STOP_S)
    stop_for([null_sut.process.pid], STOP_S)
    finished = started.finish()
    latency_s, _, _ = _latencies(finished)
    assert finished.summary["latency_ns"]["max"] > 0.8 * NS_PER_S
    assert latency_s < 0.1
