"""Worker processes on this host: started as a remote host would start them, ended by their ids.

The token goes by environment, since command lines are public on a host. Decides nothing about runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from loadgen_service.errors import RunError

TOKEN_VARIABLE = "LOADGEN_TOKEN"
WATCH_S = 0.1
TERMINATE_S = 5.0
"""How long a worker may take to leave after SIGTERM; then it is killed."""

LAST_WORDS_BYTES = 2_000

SERVICE_NICENESS = 10
"""A tenth of a busy processor is left, and what the workers sleep: the records of the busiest one
there ask for about that, and those that wait are kept by it."""

Left = Callable[[int, str], None]


class LocalWorkers:
    """``count`` worker processes of one coordinator. ``on_exit`` gets a pid and why it ended."""

    def __init__(
        self,
        count: int,
        coordinator: str,
        token: str,
        *,
        arguments: Sequence[str] = (),
        on_exit: Left | None = None,
    ) -> None:
        self._count = count
        self._command = [
            sys.executable,
            "-m",
            "loadgen_service",
            "worker",
            "--coordinator",
            coordinator,
            "--with-parent",
            *arguments,
        ]
        self._token = token
        self._on_exit = on_exit
        self._processes: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        self._watching: asyncio.Task[None] | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids, in order of their start."""
        return [process.pid for process, _ in self._processes]

    async def start(self) -> None:
        """Start all; they say hello to the coordinator by themselves."""
        groups = spread_cpus(self._count, sorted(os.sched_getaffinity(0)))
        for cpus in groups:
            self._processes.append(self._start_one(cpus))
        self._watching = asyncio.create_task(self._watch())

    def _start_one(self, cpus: set[int]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        try:
            process = subprocess.Popen(
                self._command,
                env={**os.environ, TOKEN_VARIABLE: self._token},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # A Ctrl-C in the terminal is for the run: it drains first. A group and no session
                # of its own: Linux schedules sessions as equals, whatever their niceness.
                process_group=0,
            )
        except OSError as error:
            raise RunError(f"cannot start a worker process: {error.strerror}") from None
        if cpus:
            os.sched_setaffinity(process.pid, cpus)
        return process, errors

    async def _watch(self) -> None:
        """Tell of processes that end by themselves, each once."""
        told: set[int] = set()
        while True:
            for process, errors in self._processes:
                code = process.poll()
                if code is not None and process.pid not in told:
                    told.add(process.pid)
                    if self._on_exit is not None:
                        self._on_exit(process.pid, exit_reason(code, last_line(errors)))
            await asyncio.sleep(WATCH_S)

    async def stop(self) -> None:
        """End all processes: SIGTERM, then SIGKILL for those that do not leave in time."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for process, _ in self._processes:
            _signal(process, signal.SIGTERM)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TERMINATE_S
        while any(p.poll() is None for p, _ in self._processes) and loop.time() < deadline:
            await asyncio.sleep(0.02)
        for process, errors in self._processes:
            _signal(process, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            errors.close()
        self._processes = []


def let_workers_first(threads: Path = Path("/proc/self/task")) -> None:
    """Make every thread of this process nicer than the workers that it has started.

    Service and worker often share a processor. Records may wait a millisecond, a due query may
    not; a fair scheduler would give the processor to whoever has used it less, which is the
    service. Needs no privilege, and without one cannot be taken back.
    """
    for name in os.listdir(threads):
        with contextlib.suppress(ProcessLookupError):  # a thread that has ended since
            now = os.getpriority(os.PRIO_PROCESS, int(name))
            os.setpriority(os.PRIO_PROCESS, int(name), min(19, now + SERVICE_NICENESS))


def spread_cpus(count: int, cpus: Sequence[int]) -> list[set[int]]:
    """A share of the processors for each of ``count`` workers; empty sets where they are too few.

    Shares keep two busy workers from meeting on one processor; with fewer processors than workers
    the kernel spreads them better than we can.
    """
    if count < 2 or count > len(cpus):
        return [set() for _ in range(count)]
    return [set(cpus[index::count]) for index in range(count)]


def exit_reason(code: int, last_line: str) -> str:
    """Why a process ended, in words."""
    if code < 0:
        try:
            how = f"killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"killed by signal {-code}"
    else:
        how = f"its process exited with code {code}"
    return f"{how}: {last_line}" if last_line else how


def last_line(errors: IO[bytes]) -> str:
    """The last line that a process wrote into its file of errors, or ``""``."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - LAST_WORDS_BYTES))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)
