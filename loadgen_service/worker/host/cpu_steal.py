"""Processor time that others took from this worker: its hypervisor, and what else its host runs.

A virtual machine whose host is full stands still for milliseconds at a time, and nothing that its
own processes measure shows why; the kernel counts it as steal. Reads counters, judges nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
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
