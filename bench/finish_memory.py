"""Memory of finishing a large run: exact percentiles, verdict, Parquet, report.

``python bench/finish_memory.py COUNT [--scenario concurrency]`` writes the segments of so many
queries, of the Server scenario or of a closed loop, which has no plan to hold, and finishes them
twice, each in a process of its own: as on a host with much memory, and as on one with little, where
columns are files. Prints the largest size of that process, with and without files it has mapped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import RunFacts, SeriesFacts, WorkerFacts
from loadgen_service.core.plan.effective_settings import SampleCounts
from loadgen_service.core.plan.plan import plan_series
from loadgen_service.core.plan.series import series_specs
from loadgen_service.core.records.columns import REQUEST_COLUMNS, Status
from loadgen_service.core.settings import Settings
from loadgen_service.service.collect.collector import Collector, Received
from loadgen_service.service.results import writer
from loadgen_service.service.storage.run_directory import RunDirectory

BATCH_ROWS = 50_000
QPS = 100_000
FINISH_S = 3_600.0


def settings_of(count: int, scenario: str) -> Settings:
    if scenario == "concurrency":
        return Settings(
            sut=["grpc://127.0.0.1:1"], model="m", scenario="concurrency", concurrency=64,
            min_query_count=1, min_duration_ms=1,
        )  # fmt: skip
    return Settings(
        sut=["grpc://127.0.0.1:1"], model="m", target_qps=QPS, min_query_count=count,
        max_query_count=count, min_duration_ms=1, target_latency_ms=100,
    )  # fmt: skip


def plan_of(settings: Settings):
    counts = SampleCounts(1_024, 1_024)
    return plan_series(settings, counts, series_specs(settings, counts)[-1])


async def store(folder: Path, count: int, settings: Settings) -> None:
    """Segments of a run in which every query took a millisecond or so."""
    plan, collector = plan_of(settings), Collector(RunDirectory(folder), lambda: None)
    drawn = np.random.RandomState(1)
    for sequence, start in enumerate(range(0, count, BATCH_ROWS), 1):
        rows = np.arange(start, min(start + BATCH_ROWS, count))
        due = rows * (10**9 // QPS) if plan.unbounded else plan.scheduled_ns[rows]
        done = due + drawn.exponential(1e6, len(rows)).astype(np.int64)
        given = {"row": rows, "scheduled_ns": due, "released_ns": due, "issued_ns": due + 1_000,
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


@contextlib.contextmanager
def watched() -> Iterator[list[int]]:
    """The largest anonymous size of this process, KiB: the kernel notes only the whole."""
    largest, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            status = Path("/proc/self/status").read_text()
            largest[0] = max(largest[0], int(status.split("RssAnon:")[1].split()[0]))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield largest
    finally:
        is_over.set()
        watcher.join()


def finish(folder: Path, count: int, settings: Settings, where: str) -> None:
    if where == "files":
        writer.free_memory_bytes = lambda: 0
    worker = WorkerFacts(worker_index=0, issued_count=count)
    facts = RunFacts("bench", "0" * 64, "0" * 64, (SeriesFacts(0, (worker,)),))
    began = time.monotonic()
    with watched() as anonymous:
        material = writer.Material(settings, facts, (plan_of(settings),), 1)
        summary = writer.write_results(RunDirectory(folder), material)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parquet = (folder / "records.parquet").stat().st_size
    assert summary.counts.queries.completed == count, summary.counts
    print(
        f"{count} queries, columns in {where}: finished in {time.monotonic() - began:.0f} s; "
        f"largest resident size {largest / 1024:.0f} MiB, anonymous {anonymous[0] / 1024:.0f} MiB; "
        f"records.parquet {parquet / count:.1f} bytes a record"
    )


def main() -> None:
    """Store here, finish in a child: the largest size is then the finishing's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--scenario", choices=["server", "concurrency"], default="server")
    parser.add_argument("--columns", choices=["memory", "files"], action="append")
    parser.add_argument("--finish", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    settings = settings_of(given.count, given.scenario)
    if given.finish:
        finish(given.finish, given.count, settings, given.columns[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(store(Path(folder), given.count, settings))
        for columns in given.columns or ("memory", "files"):
            argv = [str(given.count), "--scenario", given.scenario, "--columns", columns]
            command = [sys.executable, __file__, *argv, "--finish", folder]
            subprocess.run(command, check=True, timeout=FINISH_S)


if __name__ == "__main__":
    main()
