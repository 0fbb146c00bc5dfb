"""Processor time that others took from this worker: its hypervisor, and what else its host runs.

A virtual machine whose host is full stands still for milliseconds at a time, and nothing that its
own processes measure shows why; the kernel counts it as steal. Reads counters, judges nothing.

What a heartbeat says about the process itself: processor, memory, and how late its loop runs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.core.units import NS_PER_S

TICK_NS: Final = NS_PER_S // os.sysconf("SC_CLK_TCK")
"""Unit of /proc/stat (proc(5), USER_HZ)."""

_STAT: Final = Path("/proc/stat")
_SCHEDSTAT: Final = Path("/proc/self/schedstat")
_STEAL: Final = 8
"""Its field in a processor's line of /proc/stat: name, user, nice, system, idle, iowait, irq,
softirq, steal."""


@dataclass(frozen=True, slots=True)
class CpuContention:
    """Counters at one instant, None where the system does not tell.

    ``stolen_ns``: time that the hypervisor ran others, mean of the processors that this process may
    use. ``waited_ns``: time that its first thread, the event loop's, was able to run and did not.
    """

    at_ns: int
    stolen_ns: int | None
    waited_ns: int | None


def read_cpu_contention() -> CpuContention:
    """The counters of this process and its host now."""
    cpus = os.sched_getaffinity(0)
    return CpuContention(
        time.monotonic_ns(), stolen_ns(_text(_STAT), cpus), waited_ns(_text(_SCHEDSTAT))
    )


def report_between(before: CpuContention, after: CpuContention) -> WorkerReport:
    """What others took from ``before`` to ``after``, as shares of the time between."""
    wall_ns = max(1, after.at_ns - before.at_ns)

    def share(first: int | None, last: int | None) -> float | None:
        return None if first is None or last is None else max(0, last - first) / wall_ns

    return WorkerReport(
        stolen_share=share(before.stolen_ns, after.stolen_ns),
        waited_share=share(before.waited_ns, after.waited_ns),
    )


def stolen_ns(stat: str, cpus: Collection[int]) -> int | None:
    """Mean steal of ``cpus`` since the host started, from the text of /proc/stat."""
    names = {f"cpu{cpu}" for cpu in cpus}
    rows = [
        fields for line in stat.splitlines() if (fields := line.split())[:1] and fields[0] in names
    ]
    if not rows or any(len(fields) <= _STEAL for fields in rows):
        return None
    return sum(int(fields[_STEAL]) for fields in rows) * TICK_NS // len(rows)


def waited_ns(schedstat: str) -> int | None:
    """Time on the run queue, from a thread's schedstat: ran, waited, slices."""
    fields = schedstat.split()
    return int(fields[1]) if len(fields) > 1 else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


PROBE_S: Final = 0.1
"""The loop's lag is probed this often, and the worst of a heartbeat's interval is told."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MEMORY: Final = Path("/proc/self/statm")


class ProcessStats:
    """Figures since the last look. ``watch`` is a task that probes the loop's lag."""

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._wall_ns = time.monotonic_ns()
        self._lag_ns = 0
        self._taken = read_cpu_contention()

    async def watch(self) -> None:
        """Runs until cancelled."""
        while True:
            before_ns = time.monotonic_ns()
            await asyncio.sleep(PROBE_S)
            late_ns = time.monotonic_ns() - before_ns - int(PROBE_S * NS_PER_S)
            self._lag_ns = max(self._lag_ns, late_ns)

    def cpu_share(self) -> float:
        """Processor time by wall time since the last call; 1.0 is a whole core."""
        cpu_ns, wall_ns = time.process_time_ns(), time.monotonic_ns()
        share = (cpu_ns - self._cpu_ns) / max(1, wall_ns - self._wall_ns)
        self._cpu_ns, self._wall_ns = cpu_ns, wall_ns
        return share

    def lag_ns(self) -> int:
        """Worst lag since the last call."""
        lag_ns, self._lag_ns = self._lag_ns, 0
        return lag_ns

    def taken(self) -> WorkerReport:
        """What others took since the last call. It may block for a millisecond."""
        before, self._taken = self._taken, read_cpu_contention()
        return report_between(before, self._taken)

    def report(self, taken: WorkerReport) -> WorkerReport:
        """``taken`` with the figures of this process."""
        return replace(
            taken, cpu_share=self.cpu_share(), rss_bytes=rss_bytes(), loop_lag_ns=self.lag_ns()
        )


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        return int(_MEMORY.read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
