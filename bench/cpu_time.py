"""CPU time of a command and of all that it starts, told apart by what each process is.

Read from /proc while the command runs: a process that has ended is counted with what it had used
when it was last seen, at most ``LOOK_S`` before.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import RowFailed, on_core

LOOK_S = 0.05
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Watched:
    """``said``: both outputs. ``cpu_s``: role -> user and system seconds of its processes.
    ``steady``: (monotonic s, CPU seconds of all) as they were seen, in order."""

    said: str
    cpu_s: dict[str, float]
    steady: list[tuple[float, float]]

    @property
    def whole_s(self) -> float:
        """All roles together."""
        return sum(self.cpu_s.values())

    def rate_between(self, start_s: float, end_s: float) -> float:
        """CPU seconds a second from ``start_s`` after the first look to ``end_s`` before the last.

        Raises RowFailed for a command that was too short.
        """
        first, last = self.steady[0][0] + start_s, self.steady[-1][0] - end_s
        inside = [one for one in self.steady if first <= one[0] <= last]
        if len(inside) < 2:
            raise RowFailed("too short to see its CPU time")
        (t0, used0), (t1, used1) = inside[0], inside[-1]
        return (used1 - used0) / (t1 - t0)


def watched(
    argv: Sequence[str],
    core: int | str,
    seconds: float,
    env: dict[str, str] | None = None,
    allowed: Sequence[int] = (0,),
) -> Watched:
    """Run a pinned command to its end. Raises RowFailed for other exit codes or a late end."""
    process = subprocess.Popen(
        on_core(core, argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        text=True,
    )
    used: dict[int, tuple[str, float]] = {}
    steady: list[tuple[float, float]] = []
    ended = threading.Event()
    looking = threading.Thread(target=_look_on, args=(process.pid, used, steady, ended))
    looking.start()
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RowFailed(f"{Path(argv[0]).name} did not end in {seconds:g} s") from None
    finally:
        ended.set()
        looking.join()
    if process.returncode not in allowed:
        raise RowFailed(f"{' '.join(argv[:6])}: exit {process.returncode}: {said[-400:]}")
    by_role: dict[str, float] = defaultdict(float)
    for role, cpu_s in used.values():
        by_role[role] += cpu_s
    return Watched(said, dict(by_role), steady)


def _look_on(
    root: int,
    used: dict[int, tuple[str, float]],
    steady: list[tuple[float, float]],
    ended: threading.Event,
) -> None:
    while not ended.wait(LOOK_S):
        for pid, cpu_s in _family(root).items():
            role = used[pid][0] if pid in used else _role(pid)
            used[pid] = (role, cpu_s)
        steady.append((time.monotonic(), sum(cpu_s for _, cpu_s in used.values())))


def _family(root: int) -> dict[int, float]:
    """CPU seconds of ``root`` and of all that it started and that still runs, by process id."""
    parents: dict[int, int] = {}
    cpu_s: dict[int, float] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            fields = text.rsplit(")", 1)[1].split()
            parents[int(entry.name)] = int(fields[1])
            cpu_s[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    family = {root} & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return {pid: cpu_s[pid] for pid in family}


def _role(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "service"
    return "worker" if b"worker" in words else "service"
