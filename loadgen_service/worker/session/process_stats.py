"""What a heartbeat says about the process itself: processor, memory, and how late its loop runs."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.core.units import NS_PER_S
from loadgen_service.worker.host.cpu_steal import read_cpu_contention, report_between

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
