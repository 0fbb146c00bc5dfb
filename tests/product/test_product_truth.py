"""Measured tails against known ones: a SUT that logs what it served, processes that stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from product_runs import Finished, Run, Stop, run, stop_for
from sut_process import SutProcess, sut_server

STOP_S = 1.0
BEFORE_STOP_S = 0.5
DURATION_MS = 5000
SERVER = (
    "--scenario", "server", "--target-qps", "500", "--min-duration-ms", str(DURATION_MS),
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
            tmp_path / "run", *flags, "--target-qps", "150", "--min-duration-ms", "4000",
            "--target-latency-ms", "200",
        )  # fmt: skip
    assert finished.finding("accounting")["met"], finished.said
    served = np.sort(np.load(log))
    columns = finished.columns("issued_ns", "completed_ns")
    measured = np.sort(columns["completed_ns"] - columns["issued_ns"])
    assert len(measured) == len(served)
    # Each is longer than the SUT's own part of it, so each is in order of length too.
    excess_ns = measured - served
    print({"excess, ms": np.quantile(excess_ns, (0, 0.5, 0.99)) / 1e6})
    assert 0 < excess_ns.min() < 20_000_000


@dataclass(frozen=True)
class Stopped:
    """A finished run, one of whose processes stood still, and its rows on the monotonic clock."""

    finished: Finished
    stop: Stop

    def column(self, name: str) -> np.ndarray:
        start_ns = self.finished.summary["workers"][0]["start_clock_ns"]
        return self.finished.columns(name)[name] + start_ns

    @property
    def due_then(self) -> np.ndarray:
        """Which rows were due while it stood still; not the last ones, which would not show."""
        due_ns, margin_ns = self.column("scheduled_ns"), 200_000_000
        rows = (due_ns > self.stop.from_ns) & (due_ns < self.stop.to_ns - margin_ns)
        assert rows.any(), "the run was over before the stop"
        return rows


def _run_with_a_stop(started: Run, pids: Callable[[], list[int]]) -> Stopped:
    started.wait_for("issuing")
    time.sleep(BEFORE_STOP_S)
    stop = stop_for(pids(), STOP_S)
    return Stopped(started.finish(), stop)


@pytest.fixture
def null_sut() -> Iterator[SutProcess]:
    with sut_server("--model", "null") as server:
        yield server


def test_a_stopped_sut_shows_in_latency_and_is_judged_there(
    null_sut: SutProcess, tmp_path: Path
) -> None:
    started = Run(tmp_path / "run", *SERVER, "--sut", f"grpc://{null_sut.host_port}")
    run = _run_with_a_stop(started, lambda: [null_sut.process.pid])
    rows = run.due_then
    assert (run.column("completed_ns")[rows] >= run.stop.to_ns).all()
    assert (run.column("released_ns")[rows] < run.stop.to_ns).any(), "the generator went on"
    assert run.finished.exit_code == 1, run.finished.said
    assert not run.finished.finding("latency")["met"]
    assert run.finished.finding("accounting")["met"]


def test_a_stopped_worker_is_the_generators_fault(null_sut: SutProcess, tmp_path: Path) -> None:
    started = Run(tmp_path / "run", *SERVER, "--sut", f"grpc://{null_sut.host_port}")
    run = _run_with_a_stop(started, started.worker_pids)
    rows = run.due_then
    assert (run.column("released_ns")[rows] >= run.stop.to_ns).all()
    service_ns = (run.column("completed_ns") - run.column("issued_ns"))[rows]
    assert service_ns.min() < run.stop.to_ns - run.stop.from_ns, "the SUT is not blamed"
    assert run.finished.exit_code == 1, run.finished.said
    assert not run.finished.finding("generator_late")["met"]
    assert run.finished.finding("worker_lost")["met"]


def test_a_closed_loop_hides_the_stopped_sut(null_sut: SutProcess, tmp_path: Path) -> None:
    concurrency = 4
    started = Run(
        tmp_path / "run", "--scenario", "concurrency", "--concurrency", str(concurrency),
        "--model", "null", "--min-duration-ms", str(DURATION_MS),
        "--sut", f"grpc://{null_sut.host_port}",
    )  # fmt: skip
    run = _run_with_a_stop(started, lambda: [null_sut.process.pid])
    issued_ns, completed_ns = run.column("issued_ns"), run.column("completed_ns")
    met = (issued_ns < run.stop.to_ns) & (completed_ns >= run.stop.to_ns)
    assert 0 < met.sum() <= concurrency
    assert len(met) > 100 * concurrency, "so few do not move the 99th percentile"
    latency = run.finished.summary["latency_ns"]
    assert latency["max"] >= run.stop.to_ns - issued_ns[met].min()
    assert latency["p99"] < run.stop.to_ns - run.stop.from_ns
