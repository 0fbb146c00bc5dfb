"""Records a second that a collector takes in and makes durable: SECONDS FOLDER.

Batches as a busy worker sends them (160 KB of columns), parsed from bytes, checked, appended,
synced. Prints JSON: records_per_s, rss_growth_bytes between the second and the last quarter.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import REQUEST_COLUMNS, Status, sent_columns
from loadgen_service.service.collect.collector import Collector, Received
from loadgen_service.service.collect.live_stats import LiveStats
from loadgen_service.service.storage.run_directory import RunDirectories, new_run_id

ROWS = 4096
IN_FLIGHT = 256
"""What the service takes of one stream before the disk has it."""


def batch_bytes(sequence: int) -> bytes:
    """One serialised batch of ROWS completed requests."""
    start = (sequence - 1) * ROWS
    values = {
        "row": np.arange(start, start + ROWS),
        "scheduled_ns": np.arange(ROWS) * 1000,
        "released_ns": np.arange(ROWS) * 1000 + 100,
        "issued_ns": np.arange(ROWS) * 1000 + 200,
        "first_response_ns": np.arange(ROWS) * 1000 + 90_000,
        "completed_ns": np.arange(ROWS) * 1000 + 90_000,
        "status": np.full(ROWS, Status.COMPLETED),
    }
    columns = sent_columns(
        {
            name: np.asarray(values.get(name, np.zeros(ROWS))).astype(dtype)
            for name, dtype in REQUEST_COLUMNS.items()
        }
    )
    crc = 0
    for column in columns:
        crc = zlib.crc32(column.content, crc)
    body = pb.RecordBatch(
        sequence=sequence,
        count=ROWS,
        columns=[pb.Column(**column._asdict()) for column in columns],
        crc32=crc,
    )
    return pb.Batch(records=body).SerializeToString()


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def main(seconds: float, folder: str) -> None:
    """Feed one collector for ``seconds``."""
    directory = RunDirectories(Path(folder)).create("server", new_run_id(), "")
    collector = Collector(directory, lambda: None)
    collector.begin_series(0, LiveStats(0))
    ready = [batch_bytes(sequence) for sequence in range(1, 129)]
    sequence, waiting, memory = 0, [], []
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        sequence += 1
        # A number of its own behind bytes that were made before: where a field comes twice, the
        # last one counts.
        numbered = pb.Batch(records=pb.RecordBatch(sequence=sequence)).SerializeToString()
        received = Received.from_bytes(ready[sequence % len(ready)] + numbered)
        waiting.append(collector.offer(0, received))
        if len(waiting) >= IN_FLIGHT:
            await waiting.pop(0)
        if sequence % 256 == 0:
            memory.append(rss_bytes())
    await asyncio.gather(*waiting)
    elapsed = time.monotonic() - started
    await collector.close()
    quarter = max(1, len(memory) // 4)
    growth = max(memory[-quarter:]) - max(memory[quarter : 2 * quarter], default=0)
    print(json.dumps({"records_per_s": sequence * ROWS / elapsed, "rss_growth_bytes": growth}))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2]))
