"""One flipped bit in any file of a run: named, or without any effect; never silent.

``make test`` flips a few bits of each kind of file, ``make test-long`` a thousand, and prints what
became of them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from google.protobuf.message import DecodeError
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.checksums import SUMS_FILE, require_unchanged
from loadgen_service.core.records.columns import REQUEST_COLUMNS
from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError
from loadgen_service.qsl.arena.file import Arena, file_hash
from loadgen_service.service.collect.collector import CorruptBatch, checked_rows
from loadgen_service.service.storage.journal import (
    COPY_NAME,
    JOURNAL_NAME,
    Journal,
    scan_journal,
)
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segments import Damage, Segment, frames_and_damage
from loadgen_service.worker.records.record_log import RecordLog, SealedRows
from loadgen_service.worker.uplink.sender import batch_message

Reader = Callable[[], tuple[Any, list[str]]]
"""What is read of the file, and what the reading names as damaged."""

FEW, MANY = 25, 1_000
ROWS = 200


def sealed_rows(folder: Path) -> SealedRows:
    """A batch of a worker, in the block that it lies in until it is acknowledged."""
    sealed: list[SealedRows] = []
    log = RecordLog(folder, sealed.append, row_count=ROWS)
    log.begin_series(0, lambda columns: columns["scheduled_ns"].fill(7))
    for row in range(ROWS):
        log.row[row], log.released_ns[row] = row, 1_000 * row
        log.issued_ns[row], log.completed_ns[row] = 1_000 * row + 5, 1_000 * row + 900 + row
    log.count = ROWS
    log.seal()
    return sealed[0]


def batches(folder: Path) -> list[bytes]:
    sealed = sealed_rows(folder)
    return [batch_message(number, sealed).SerializeToString() for number in range(1, 6)]


def journal(folder: Path) -> tuple[Path, Reader]:
    made = Journal(folder)
    made.write("run", settings=Settings(sut=["grpc://h:1"], model="m").model_dump(mode="json"))
    made.write("prepared", plan_hash="plan-v1:1", trace_ns=list(range(50)))
    made.write("start", series_index=0, t0_ns=5)

    def read() -> tuple[Any, list[str]]:
        scan = scan_journal(folder)
        return scan.entries, scan.gaps + scan.notes

    return folder / JOURNAL_NAME, read


def journal_without_copy(folder: Path) -> tuple[Path, Reader]:
    path, read = journal(folder)
    (folder / COPY_NAME).unlink()
    return path, read


def segment(folder: Path) -> tuple[Path, Reader]:
    path = folder / "a.seg"
    opened = Segment(path)
    opened.append(*batches(folder))
    opened.close()

    def read() -> tuple[Any, list[str]]:
        parts = list(frames_and_damage(path))
        damage = [str(part) for part in parts if isinstance(part, Damage)]
        return [part for part in parts if not isinstance(part, Damage)], damage

    return path, read


def columns(folder: Path) -> tuple[Path, Reader]:
    """The columns of a batch, as the collector takes them in.

    Its checksum covers them, not the batch's number and series; on the disk the frame's does.
    """
    path = folder / "batch"
    path.write_bytes(batches(folder)[0])

    def read() -> tuple[Any, list[str]]:
        try:
            batch = pb.Batch.FromString(path.read_bytes())
            if batch.WhichOneof("message") != "records":
                return None, ["no batch of records"]
            rows = checked_rows(batch.records)
        except (DecodeError, CorruptBatch) as error:
            return None, [str(error)]
        return {name: values.tolist() for name, values in rows.items()}, []

    return path, read


def left_over(folder: Path) -> tuple[Path, Reader]:
    """What a worker spills where no coordinator took its last batches."""
    from loadgen_service.worker.uplink.sender import read_left_over, write_left_over

    path = folder / "left.batches"
    sealed = sealed_rows(folder)
    write_left_over(path, pb.BatchStream(run_id="r"), [(1, sealed), (2, sealed)])

    def read() -> tuple[Any, list[str]]:
        whole, damaged = read_left_over(path)
        return [one.SerializeToString() for one in whole], damaged

    return path, read


def finished_run(folder: Path) -> RunDirectory:
    """Records and a summary with their sums, as ``write_results`` leaves them."""
    import pyarrow as pa

    directory = RunDirectory(folder)
    table = pa.table({name: np.arange(5_000, dtype=kind) for name, kind in REQUEST_COLUMNS.items()})
    pq.write_table(table, folder / "records.parquet", compression="zstd", write_page_checksum=True)
    directory.write_summary("summary.json", '{"valid": true, "latency_ns": {"p99": 1234567}}\n')
    return directory


def of_finished_run(name: str) -> Callable[[Path], tuple[Path, Reader]]:
    def make(folder: Path) -> tuple[Path, Reader]:
        finished_run(folder)

        def read() -> tuple[Any, list[str]]:
            try:
                require_unchanged(folder)
            except LoadgenError as error:
                return None, [str(error)]
            return (folder / name).read_bytes(), []

        return folder / name, read

    return make


def arena(folder: Path) -> tuple[Path, Reader]:
    path = folder / "arena"
    path.write_bytes(random.Random(1).randbytes(4_000))
    wanted = file_hash(path)

    def read() -> tuple[Any, list[str]]:
        try:
            Arena.open(path, wanted)
        except LoadgenError as error:
            return None, [str(error)] if "missing or damaged" in str(error) else []
        return path.read_bytes(), []

    return path, read


KINDS: dict[str, Callable[[Path], tuple[Path, Reader]]] = {
    "journal": journal,
    "journal without its copy": journal_without_copy,
    "segment": segment,
    "batch of columns": columns,
    "left-over batches": left_over,
    "records.parquet": of_finished_run("records.parquet"),
    "summary.json": of_finished_run("summary.json"),
    "SHA256SUMS": of_finished_run(SUMS_FILE),
    "arena": arena,
}


def flips(folder: Path, kind: str, count: int) -> Counter[str]:
    """What became of so many flips of one bit each: named, without effect, silent."""
    path, read = KINDS[kind](folder)
    whole = path.read_bytes()
    before = read()[0]
    found: Counter[str] = Counter()
    drawn = random.Random(kind)
    for _ in range(count):
        bit = drawn.randrange(8 * len(whole))
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        value, named = read()
        outcome = "named" if named else "without effect" if value == before else "silent"
        found[outcome] += 1
        assert outcome != "silent", f"{kind}: bit {bit} of {8 * len(whole)}"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_never_silent(tmp_path: Path, kind: str) -> None:
    assert flips(tmp_path, kind, FEW)["named"] > 0


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_flipped_bits_are_never_silent(tmp_path: Path, kind: str) -> None:
    found = flips(tmp_path, kind, MANY)
    print(f"\n{kind}: {found['named']} named, {found['without effect']} without effect, 0 silent")
    assert found.total() == MANY
