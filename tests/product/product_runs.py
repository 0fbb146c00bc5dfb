"""Runs the real ``loadgen run`` as a process and reads what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

RUN_S = 240.0
"""No run of these tests takes so long; one that does is ended and named."""


@dataclass(frozen=True)
class Finished:
    """What a run said, how it ended, and where its files are."""

    exit_code: int
    said: str
    out: Path

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "summary.json").read_text())

    def finding(self, name: str) -> dict[str, Any]:
        return next(f for f in self.summary["findings"] if f["name"] == name)

    def columns(self, *names: str) -> dict[str, Any]:
        table = pq.read_table(self.out / "records.parquet", columns=list(names))
        return {name: table.column(name).to_numpy() for name in names}


class Run:
    """A started ``loadgen run``; ``wait_for`` reads its progress lines."""

    def __init__(self, out: Path, *flags: str) -> None:
        self.out = out
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadgen_service", "run", *flags, "--out", str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Return once a progress line holds ``text``."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} was never said:\n{''.join(self._lines)}")

    def worker_pids(self) -> list[int]:
        """Process ids of the local workers."""
        return [pid for pid in _children(self.pid) if "worker" in _command(pid)]

    def finish(self) -> Finished:
        try:
            said, _ = self._process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
            raise AssertionError(f"the run did not end in {RUN_S} s:\n{said}") from None
        return Finished(self._process.returncode, "".join(self._lines) + said, self.out)


def run(out: Path, *flags: str) -> Finished:
    """``loadgen run FLAGS --out OUT`` to its end."""
    return Run(out, *flags).finish()


@dataclass(frozen=True)
class Stop:
    """When processes stood still: from ``from_ns`` to ``to_ns`` of the monotonic clock, surely."""

    from_ns: int
    to_ns: int


def stop_for(pids: Sequence[int], seconds: float) -> Stop:
    """SIGSTOP the processes and let them go on after ``seconds``, whatever happens between."""
    assert pids
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        _wait_until_stopped(pids)
        from_ns = time.monotonic_ns()
        time.sleep(seconds)
        return Stop(from_ns, time.monotonic_ns())
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _wait_until_stopped(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + RUN_S
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    while any((task / "stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks):
        assert time.monotonic() < deadline, f"processes {pids} do not stop"
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
