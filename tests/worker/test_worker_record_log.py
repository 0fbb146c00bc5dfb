"""Rows come out of the record log as they went in, and blocks are used again."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import (
    REQUEST_COLUMNS,
    SERVER_COLUMNS,
    Status,
    received_columns,
)
from loadgen_service.errors import RunError
from loadgen_service.service.collect.live_stats import sent_of
from loadgen_service.worker.records.record_log import Columns, RecordLog, SealedRows
from loadgen_service.worker.uplink.sender import (
    SealedNothing,
    SealedResponses,
    batch_message,
    read_left_over,
    write_left_over,
)


def finish(columns: Columns) -> None:
    columns["scheduled_ns"][:] = columns["row"] * 10
    columns["first_response_ns"][:] = columns["completed_ns"]


def write(log: RecordLog, rows: range) -> None:
    log.reserve(len(rows))
    for index, row in enumerate(rows, start=log.count):
        log.row[index] = row
        log.released_ns[index] = row + 1
        log.issued_ns[index] = row + 2
        log.completed_ns[index] = row + 3
    log.count += len(rows)


def test_rows_of_many_blocks_come_out_once_and_in_order(tmp_path: Path) -> None:
    sealed: list[SealedRows] = []
    log = RecordLog(tmp_path, sealed.append, row_count=16)
    log.begin_series(3, finish)
    for start in range(0, 100, 10):
        write(log, range(start, start + 10))
    log.seal()
    rows = np.concatenate([piece.columns()["row"] for piece in sealed])
    assert rows.tolist() == list(range(100))
    for piece in sealed:
        columns = piece.columns()
        assert set(columns) == set(REQUEST_COLUMNS)
        assert piece.series_index == 3
        assert (columns["scheduled_ns"] == columns["row"] * 10).all()
        assert (columns["status"] == Status.COMPLETED).all()


def test_an_acknowledged_block_is_used_again_with_clean_defaults(tmp_path: Path) -> None:
    sealed: list[SealedRows] = []
    log = RecordLog(tmp_path, sealed.append, row_count=8)
    for _ in range(20):
        write(log, range(8))
        log.status[0] = Status.FAILED
        log.note_timings(3, (5, -1, -1, -1))
        log.seal()
        piece = sealed.pop()
        columns = piece.columns()
        assert columns["status"].tolist() == [Status.FAILED] + [Status.COMPLETED] * 7
        assert set(SERVER_COLUMNS) <= set(columns)
        assert columns["server_received_ns"].tolist() == [-1, -1, -1, 5, -1, -1, -1, -1]
        piece.release()
    assert len(list(tmp_path.iterdir())) <= 2
    log.close()
    assert not list(tmp_path.iterdir())


def test_a_block_waits_for_all_its_batches(tmp_path: Path) -> None:
    sealed: list[SealedRows] = []
    log = RecordLog(tmp_path, sealed.append, row_count=4)
    write(log, range(2))
    log.seal()
    write(log, range(2, 4))
    log.seal()
    write(log, range(4, 6))
    first, second = sealed
    kept = first.columns()["row"].copy()
    second.release()
    write(log, range(6, 8))
    write(log, range(8, 10))
    assert (first.columns()["row"] == kept).all()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="spill directory"):
        RecordLog(tmp_path / "missing", lambda rows: None)


def test_a_record_batch_carries_its_columns_and_their_checksum(tmp_path: Path) -> None:
    sealed: list[SealedRows] = []
    log = RecordLog(tmp_path, sealed.append, row_count=8)
    log.begin_series(1, finish)
    write(log, range(5))
    log.seal()
    records = batch_message(7, sealed[0]).records
    assert (records.sequence, records.series_index, records.count) == (7, 1, 5)
    joined = b"".join(column.content for column in records.columns)
    assert records.crc32 == zlib.crc32(joined)
    by_name = received_columns(sent_of(records), 5)
    assert by_name["issued_ns"].tolist() == [2, 3, 4, 5, 6]


def test_a_response_batch_and_an_empty_one() -> None:
    sealed = SealedResponses(2, np.array([4, 9]), [b"abc", b""])
    responses = batch_message(3, sealed).responses
    assert np.frombuffer(responses.row, "<i8").tolist() == [4, 9]
    assert np.frombuffer(responses.length, "<i8").tolist() == [3, 0]
    assert responses.content == b"abc"
    assert responses.crc32 == zlib.crc32(responses.row + responses.length + responses.content)
    assert batch_message(4, SealedNothing(2)).records.count == 0


def test_left_over_batches_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "left"
    opening = pb.BatchStream(run_id="r", worker_index=1)
    write_left_over(path, opening, [(5, SealedNothing(0)), (6, SealedNothing(0))])
    found, damage = read_left_over(path)
    assert damage == []
    assert found[0].open == opening
    assert [batch.records.sequence for batch in found[1:]] == [5, 6]
