"""What each fault does to a run over five hosts: it ends in bounded time, its accounts close, no
record is there twice, and the verdict names the reason.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_runs import QPS, RUN_MS, SUT_PORT, Ended, Fleet
from five_hosts import Process

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

PLANNED = QPS * RUN_MS // 1000
PATIENT = ("--issue-delay-budget-ms", "1500", "--target-latency-ms", "1500")
"""Where accounts are the point: on few, busy processors lateness would drown it."""


def note(table: list[str], fault: str, ended: Ended) -> dict[str, int]:
    """Check what holds after every fault; the run's counts."""
    counts = ended.require_closed_accounts()
    table.append(ended.row(fault))
    assert counts["planned"] >= PLANNED
    return counts


def stop_for(pids: list[int], seconds: float) -> None:
    for pid in pids:
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
    time.sleep(seconds)
    for pid in pids:
        subprocess.run(["kill", "-CONT", str(pid)], check=True)


def test_without_a_fault_the_run_is_valid(fleet: Fleet, fault_table: list[str]) -> None:
    fleet.start()
    ended = fleet.run_with(lambda: None)
    counts = note(fault_table, "none", ended)
    assert counts["completed"] == counts["planned"]
    assert ended.exit_code == 0, ended.unmet


def test_a_killed_worker_is_named_and_its_rows_are_lost(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()
    ended = fleet.run_with(fleet.workers[0].kill)
    counts = note(fault_table, "a worker killed", ended)
    assert ended.exit_code == 1
    assert "worker_lost" in ended.unmet
    assert counts["lost"] + counts["not_issued"] > 0


def test_a_worker_stopped_for_3_s_is_late_not_lost(fleet: Fleet, fault_table: list[str]) -> None:
    fleet.start()
    ended = fleet.run_with(lambda: stop_for([fleet.workers[1].pid], 3))
    counts = note(fault_table, "a worker stopped for 3 s", ended)
    assert ended.exit_code == 1
    assert counts["lost"] == 0
    assert "generator_late" in ended.unmet


def test_a_killed_sut_that_comes_back_costs_what_it_missed(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()

    def fault() -> None:
        fleet.suts[0].kill()
        time.sleep(1)
        fleet.start_sut(1, ("--service-time", "constant:2")).wait_for("ready on")

    ended = fleet.run_with(fault)
    counts = note(fault_table, "a SUT killed, back after a second", ended)
    assert ended.exit_code == 1
    assert counts["failed"] > 0
    # it is used again: the last queries of the run are answered by both
    last = ended.columns("sut_index", "status", "scheduled_ns")
    late = last["scheduled_ns"] > (RUN_MS - 1000) * 1_000_000
    assert (last["status"][late & (last["sut_index"] == 0)] == 1).any()


def test_a_sut_that_stops_answering_runs_into_the_deadline(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()
    ended = fleet.run_with(lambda: fleet.suts[1].signal(signal.SIGSTOP))
    counts = note(fault_table, "a SUT stops answering for good", ended)
    assert ended.exit_code == 1
    assert counts["timed_out"] > 0
    assert "error_budget" in ended.unmet


def test_a_partition_between_worker_and_service_loses_nothing(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()

    def fault() -> None:
        fleet.hosts.shape("coordinator", "worker1", down=True)
        time.sleep(5)
        fleet.hosts.shape("coordinator", "worker1")

    ended = fleet.run_with(fault, *PATIENT)
    counts = note(fault_table, "5 s partition, worker and service", ended)
    assert counts["completed"] == counts["planned"]
    assert ended.exit_code == 0, ended.unmet


def test_a_partition_between_worker_and_sut_shows_in_the_tail(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()

    def fault() -> None:
        # to both: which SUT a worker's rows go to is the plan's affair
        for sut in ("sut1", "sut2"):
            fleet.hosts.shape("worker2", sut, down=True)
        time.sleep(5)
        for sut in ("sut1", "sut2"):
            fleet.hosts.shape("worker2", sut)

    ended = fleet.run_with(fault, at_s=1.5)
    counts = note(fault_table, "5 s partition, worker and SUT", ended)
    assert ended.exit_code == 1
    assert counts["timed_out"] + counts["failed"] > 0


def test_loss_and_delay_on_every_link_are_measured_not_hidden(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()
    fleet.hosts.shape_all(delay_ms=50, loss=0.05)
    ended = fleet.run_with(lambda: None, "--target-latency-ms", "1000")
    counts = note(fault_table, "5 % loss and 50 ms on every link", ended)
    assert counts["completed"] > 0.9 * counts["planned"]
    assert ended.summary["latency_ns"]["p50"] > 100e6


def test_a_full_disk_at_the_service_ends_the_run_and_is_named(
    fleet: Fleet, fault_table: list[str], tmp_path: Path
) -> None:
    """Results cannot be written either: exit 3 and one line. With space again a restart makes
    them from what had been stored."""
    results = tmp_path / "results"
    results.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=4m", "small", str(results)]
    if subprocess.run(small, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        fleet.start()
        filler = results / "filler"
        ended = fleet.run_with(lambda: _fill(filler))
        assert ended.exit_code == 3
        assert "No space left on device" in ended.said
        assert ended.seconds < RUN_MS / 1000
        filler.unlink()
        assert fleet.service is not None
        fleet.service.kill()
        fleet.start_service()
        wait_for_summary(ended.directory)
        ended.directory = shutil.copytree(ended.directory, tmp_path / "kept")
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)
    note(fault_table, "the service's disk full", ended)


def wait_for_summary(directory: Path) -> None:
    deadline = time.monotonic() + 60
    while not (directory / "summary.json").exists():
        assert time.monotonic() < deadline, "the restarted service wrote no results"
        time.sleep(0.2)


def _fill(path: Path) -> None:
    """Take all that is free."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (65536, 4096, 1):
        try:
            while os.write(file, bytes(size)) == size:
                pass
        except OSError:
            continue
    os.close(file)


def test_a_wall_clock_step_of_an_hour_moves_no_figure(
    fleet: Fleet, fault_table: list[str], tmp_path: Path
) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is missing (apt-get install faketime)")
    step = tmp_path / "step"
    step.write_text("+0s")
    fleet.start()
    fleet.workers[0].kill()
    env = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(step),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    fleet.start_worker(1, env)
    time.sleep(2)  # the killed one is forgotten, the new one has said hello
    ended = fleet.run_with(lambda: step.write_text("+3600s") and None, *PATIENT)
    counts = note(fault_table, "a worker's wall clock stepped by an hour", ended)
    assert counts["completed"] == counts["planned"]
    assert ended.summary["latency_ns"]["max"] < 10e9
    assert ended.exit_code == 0, ended.unmet


def test_a_flood_of_goaways_fails_no_query(fleet: Fleet, fault_table: list[str]) -> None:
    fleet.start()
    fleet.suts[0].kill()
    hosts = fleet.hosts
    behind = hosts.start(
        "sut1", sys.executable, "-m", "sut_server", "--model", "synthetic", "--service-time",
        "constant:2", "--port", "9001",
    )  # fmt: skip
    behind.wait_for("ready on")
    proxy = Path(__file__).parent / "goaway_sut.py"
    hosts.start(
        "sut1", sys.executable, str(proxy), hosts.addresses["sut1"], str(SUT_PORT), "7"
    ).wait_for("ready on")
    ended = fleet.run_with(lambda: None, "--target-latency-ms", "500")
    counts = note(fault_table, "GOAWAY after every 7 answers of one SUT", ended)
    assert counts["completed"] == counts["planned"], ended.summary["findings"]


def test_a_slow_collector_delays_records_not_requests(fleet: Fleet, fault_table: list[str]) -> None:
    fleet.start()

    def fault() -> None:
        fleet.hosts.shape("coordinator", "worker1", rate_mbit=0.1, delay_ms=100)
        fleet.hosts.shape("coordinator", "worker2", rate_mbit=0.1, delay_ms=100)

    ended = fleet.run_with(fault, *PATIENT)
    counts = note(fault_table, "a collector behind 0.1 Mbit/s", ended)
    assert counts["completed"] == counts["planned"]
    assert ended.exit_code == 0, ended.unmet


def kill_service(fleet: Fleet, asker: Process, at_s: float) -> float:
    """SIGKILL while the run goes on; when the load began."""
    started = time.monotonic()
    time.sleep(at_s)
    assert fleet.service is not None
    fleet.service.kill()
    assert asker.popen.poll() is None
    return started


def test_a_killed_service_that_comes_back_has_every_record(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()
    asker = fleet.begin(*PATIENT)
    started = kill_service(fleet, asker, 3)
    time.sleep(1)
    fleet.start_service().wait_for("going on with it, 2 workers expected")
    ended = fleet.finish(asker, started)
    counts = note(fault_table, "the service killed, back after a second", ended)
    assert counts["completed"] == counts["planned"]
    assert ended.exit_code == 0, ended.unmet
    assert "the service is back" in ended.said
    assert any("the service died" in said for said in ended.summary["notes"])


def test_a_service_killed_twice_has_every_record(fleet: Fleet, fault_table: list[str]) -> None:
    """The second time while the answers of the last requests are still coming in."""
    fleet.start()
    asker = fleet.begin(*PATIENT)
    started = kill_service(fleet, asker, 2)
    fleet.start_service()
    time.sleep(3)
    fleet.service.kill()
    time.sleep(4)  # the load has ended meanwhile
    fleet.start_service()
    ended = fleet.finish(asker, started)
    counts = note(fault_table, "the service killed twice, away at the end", ended)
    assert counts["completed"] == counts["planned"]
    assert ended.exit_code == 0, ended.unmet


def test_a_killed_service_whose_workers_died_too_leaves_what_it_stored(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()
    asker = fleet.begin(*PATIENT)
    started = kill_service(fleet, asker, 3)
    for worker in fleet.workers:
        worker.kill()
    fleet.start_service()
    ended = fleet.finish(asker, started)
    counts = note(fault_table, "the service and both workers killed, the service back", ended)
    assert ended.exit_code == 3
    assert 0 < counts["completed"] < counts["planned"]
    assert counts["lost"] > 0
    assert "the service died" in ended.unmet["interrupted"]["measured"]
    assert "did not come back" in ended.unmet["worker_lost"]["measured"]
