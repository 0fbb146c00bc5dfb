"""Memory and disk of a long run's records: the worker's log and outbox, the messages, the collector
and its segments are the real ones; only the instants in the rows are made, not waited for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import NEVER, SERVER_COLUMNS, Status
from loadgen_service.service.collect.collector import Collector, Received
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.worker.records.record_log import RecordLog
from loadgen_service.worker.uplink.sender import Outbox, batch_message

SEAL_ROWS = 5_000
"""A worker at 50,000 queries a second seals so many ten times a second."""

OPEN_BATCHES = 16
BYTES_A_RECORD_MAX = 15
"""docs/how-to/fleet.md, "Disk and memory of a long run"."""


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class LongRun:
    """One worker's records on their way to the disk."""

    folder: Path
    record_count: int
    written: int = 0
    rss_by_tenth: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = RunDirectory(self.folder / "run")
        self.outbox = Outbox()
        self.spill = self.folder / "spill"
        self.spill.mkdir()
        self.log = RecordLog(self.spill, self.outbox.put)

    def write(self) -> None:
        """Seal the rows of one tenth of a second."""
        log, count = self.log, SEAL_ROWS
        log.reserve(count)
        rows = slice(log.count, log.count + count)
        due = np.arange(self.written, self.written + count, dtype=np.int64) * 20_000
        columns = log._block.columns
        for name in SERVER_COLUMNS:
            columns[name][rows] = NEVER
        columns["row"][rows] = np.arange(self.written, self.written + count)
        columns["scheduled_ns"][rows] = columns["released_ns"][rows] = due
        columns["issued_ns"][rows] = due + 30_000
        columns["first_response_ns"][rows] = columns["completed_ns"][rows] = due + 900_000
        columns["status"][rows] = Status.COMPLETED
        log.count += count
        log.seal()
        self.written += count

    def messages(self) -> Iterator[bytes]:
        """What leaves the worker now."""
        while (taken := self.outbox.take()) is not None:
            yield batch_message(*taken).SerializeToString()

    async def go(self) -> Collector:
        collector = Collector(self.directory, lambda: None)
        waiting: list[asyncio.Future[pb.BatchAck]] = []
        while self.written < self.record_count:
            self.write()
            for message in self.messages():
                waiting.append(collector.offer(0, Received.from_bytes(message)))
            if len(waiting) >= OPEN_BATCHES or self.written == self.record_count:
                for answered in waiting:
                    ack = await answered
                    assert not ack.error
                    self.outbox.acknowledge(ack.sequence)
                waiting.clear()
            if self.written % (self.record_count // 10) == 0:
                self.rss_by_tenth.append(rss_bytes())
        await collector.close()
        self.log.close()
        return collector


def stays_flat(folder: Path, record_count: int, growth_bytes_max: int) -> None:
    run = LongRun(folder, record_count)
    collector = asyncio.run(run.go())
    stored = sum(path.stat().st_size for _, path in run.directory.segments(0))
    growth = run.rss_by_tenth[-1] - run.rss_by_tenth[1]
    print(
        f"\n{record_count} records: {stored / record_count:.1f} bytes each on disk; resident "
        f"{run.rss_by_tenth[1] >> 20} MiB at a fifth, {run.rss_by_tenth[-1] >> 20} MiB at the end"
    )
    assert collector.gaps == []
    assert sum(live.all.completed for live in collector.live.values()) == record_count
    assert stored / record_count <= BYTES_A_RECORD_MAX
    assert growth < growth_bytes_max
    assert not list(run.spill.iterdir())  # every block came back, so that none was kept


def test_memory_is_flat_over_a_million_records(tmp_path: Path) -> None:
    # what is kept by mistake would be 50 MiB of the last 800,000 records
    stays_flat(tmp_path, 1_000_000, 24 << 20)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_memory_is_flat_over_a_hundred_million_records(tmp_path: Path) -> None:
    count = 100_000_000
    if shutil.disk_usage(tmp_path).free < 1.5 * BYTES_A_RECORD_MAX * count:
        pytest.skip("needs 10 GB of disk")
    stays_flat(tmp_path, count, 64 << 20)
    shutil.rmtree(tmp_path / "run")
