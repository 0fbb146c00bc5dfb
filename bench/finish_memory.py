"""Memory of finishing a large run: exact percentiles, verdict, Parquet, report.

``python bench/finish_memory.py 10000000`` writes the segments of so many queries, finishes them in
a process of its own and prints the largest resident size of that process.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.columns import REQUEST_COLUMNS, Status
from loadgen_service.core.effective import SampleCounts
from loadgen_service.core.facts import RunFacts, SeriesFacts, WorkerFacts
from loadgen_service.core.plan import plan_series
from loadgen_service.core.series import series_specs
from loadgen_service.core.settings import Settings
from loadgen_service.service.collector import Collector, Received
from loadgen_service.service.results import Material, write_results
from loadgen_service.service.store import RunDirectory

BATCH_ROWS = 50_000
QPS = 100_000


def settings_of(count: int) -> Settings:
    return Settings(
        sut=["grpc://127.0.0.1:1"], model="m", target_qps=QPS, min_query_count=count,
        max_query_count=count, min_duration_ms=1, target_latency_ms=100,
    )  # fmt: skip


def plan_of(settings: Settings):
    counts = SampleCounts(1_024, 1_024)
    return plan_series(settings, counts, series_specs(settings, counts)[-1])


async def store(folder: Path, count: int) -> None:
    """Segments of a run in which every query took a millisecond or so."""
    plan, collector = plan_of(settings_of(count)), Collector(RunDirectory(folder), lambda: None)
    drawn = np.random.RandomState(1)
    for sequence, start in enumerate(range(0, count, BATCH_ROWS), 1):
        rows = np.arange(start, min(start + BATCH_ROWS, count))
        due = plan.scheduled_ns[rows]
        done = due + drawn.exponential(1e6, len(rows)).astype(np.int64)
        given = {"row": rows, "scheduled_ns": due, "taken_ns": due, "issued_ns": due + 1_000,
                 "first_response_ns": done, "completed_ns": done + 1_000,
                 "status": np.full(len(rows), Status.COMPLETED)}  # fmt: skip
        columns = [
            pb.Column(name=name, content=np.asarray(given.get(name, np.zeros(len(rows))))
                      .astype(dtype).tobytes())
            for name, dtype in REQUEST_COLUMNS.items()
        ]  # fmt: skip
        crc = 0
        for column in columns:
            crc = zlib.crc32(column.content, crc)
        records = pb.RecordBatch(sequence=sequence, count=len(rows), columns=columns, crc32=crc)
        await collector.offer(0, Received.from_bytes(pb.Batch(records=records).SerializeToString()))
    await collector.close()


def finish(folder: Path, count: int) -> None:
    settings = settings_of(count)
    worker = WorkerFacts(worker_index=0)
    facts = RunFacts("bench", "0" * 64, "0" * 64, (SeriesFacts(0, (worker,)),))
    began = time.monotonic()
    material = Material(settings, facts, (plan_of(settings),), 1)
    summary = write_results(RunDirectory(folder), material)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parquet = (folder / "records.parquet").stat().st_size
    assert summary.counts.queries.completed == count, summary.counts
    print(
        f"{count} queries finished in {time.monotonic() - began:.0f} s; largest resident size "
        f"{largest / 1024:.0f} MiB; records.parquet {parquet / count:.1f} bytes a record"
    )


def main() -> None:
    """Store here, finish in a child: the largest size is then the finishing's."""
    if sys.argv[1:2] == ["finish"]:
        finish(Path(sys.argv[2]), int(sys.argv[3]))
        return
    for count in [int(word) for word in sys.argv[1:]] or [1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(store(Path(folder), count))
            subprocess.run([sys.executable, __file__, "finish", folder, str(count)], check=True)


if __name__ == "__main__":
    main()
