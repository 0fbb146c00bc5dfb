"""Local worker processes: their shares of the processors, their last words, their end."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from loadgen_service.fleet.local import LocalWorkers, exit_reason, spread_cpus


def test_each_worker_gets_its_own_processors() -> None:
    assert spread_cpus(2, [0, 1, 2, 3, 4]) == [{0, 2, 4}, {1, 3}]


def test_too_few_processors_are_left_to_the_kernel() -> None:
    assert spread_cpus(3, [0, 1]) == [set(), set(), set()]
    assert spread_cpus(1, [0, 1]) == [set()]


def test_reasons_name_signal_or_code_and_the_last_line() -> None:
    assert exit_reason(-9, "") == "killed by SIGKILL"
    assert exit_reason(2, "loadgen worker: no") == (
        "its process exited with code 2: loadgen worker: no"
    )


def test_a_process_that_ends_by_itself_is_told_once_with_its_last_line() -> None:
    told: list[tuple[int, str]] = []

    async def run() -> None:
        workers = LocalWorkers(1, "x", "t", on_exit=lambda pid, why: told.append((pid, why)))
        workers._command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
        await workers.start()
        pids = workers.pids
        async with asyncio.timeout(20):
            while not told:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        await workers.stop()
        assert told == [(pids[0], "its process exited with code 1: no such thing")]

    asyncio.run(run())


def test_a_process_that_ignores_the_polite_signal_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    async def run() -> None:
        workers = LocalWorkers(1, "x", "t")
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
        workers._command = [sys.executable, "-c", code]
        await workers.start()
        await asyncio.sleep(0.3)
        process = workers._processes[0][0]
        await workers.stop()
        assert process.returncode is not None

    monkeypatch.setattr("loadgen_service.fleet.local.TERMINATE_S", 0.2)
    asyncio.run(run())


def test_the_token_is_not_on_the_command_line() -> None:
    workers = LocalWorkers(1, "127.0.0.1:1", "very-secret-token")
    assert "very-secret-token" not in " ".join(workers._command)


def test_a_run_lets_its_workers_first_and_leaves_their_session_the_same() -> None:
    script = """
import asyncio, os, threading
from loadgen_service.fleet.local import SERVICE_NICENESS, LocalWorkers, let_workers_first

async def main():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    workers = LocalWorkers(1, "127.0.0.1:9", "token")
    waiting = threading.Event()
    other = threading.Thread(target=waiting.wait)
    other.start()
    await workers.start()
    let_workers_first()
    own = {os.getpriority(os.PRIO_PROCESS, int(t)) for t in os.listdir("/proc/self/task")}
    worker = workers.pids[0]
    assert own == {min(19, before + SERVICE_NICENESS)}, own
    assert os.getpriority(os.PRIO_PROCESS, worker) == before
    assert os.getsid(worker) == os.getsid(0) and os.getpgid(worker) == worker
    waiting.set()
    await workers.stop()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
