"""Arrivals of streamed answers: noted while open, handed on by plan row once ended."""

from __future__ import annotations

import numpy as np

from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.records.token_rows import CountedBy
from loadgen_service.worker.records.token_log import TokenLog
from loadgen_service.worker.uplink.sender import batch_message


def test_ended_streams_are_taken_with_their_rows_and_instants():
    log = TokenLog()
    for key, now in ((1, 110), (2, 120), (1, 130), (1, 140)):
        log.note(key, now)
    assert log.end(1, None) == (110, 3)
    assert log.end(3, None) is None
    taken = log.take(0, lambda keys: keys * 10, 100)
    assert taken is not None
    assert taken.rows.row.tolist() == [10]
    assert taken.rows.arrived_ns.tolist() == [10, 30, 40]
    assert log.take(0, lambda keys: keys, 100) is None
    assert log.end(2, (7, 5, CountedBy.USAGE)) == (120, 7)
    rest = log.take(0, lambda keys: keys, 0)
    assert rest is not None
    assert (rest.rows.length.tolist(), rest.rows.input_token_count.tolist()) == ([1], [5])
    assert rest.rows.counted_by.tolist() == [CountedBy.USAGE]


def test_a_token_batch_carries_little_endian_columns():
    log = TokenLog()
    log.note(4, 50)
    log.end(4, None)
    taken = log.take(2, lambda keys: keys, 0)
    assert taken is not None
    batch = batch_message(9, taken).tokens
    assert (batch.sequence, batch.series_index, batch.count) == (9, 2, 1)
    assert np.frombuffer(batch.arrived_ns, "<i8").tolist() == [50]


def test_tokens_that_came_without_a_piece_are_kept():
    log = TokenLog()
    assert log.end(1, (24, 5, CountedBy.USAGE)) == (NEVER, 24)
    taken = log.take(0, lambda keys: keys, 0)
    assert taken is not None
    assert (taken.rows.row.tolist(), taken.rows.length.tolist()) == ([1], [0])


def test_choices_are_streams_side_by_side():
    log = TokenLog()
    for now, choice in ((10, 1), (11, 0), (12, 1), (13, 0), (14, 3)):
        log.note(7, now, choice)
    assert log.end(7, None) == (10, 5)
    assert log.open == {}
    taken = log.take(0, lambda keys: keys, 0)
    assert taken is not None
    assert taken.rows.row.tolist() == [7, 7, 7]
    assert taken.rows.length.tolist() == [2, 2, 1]
    assert taken.rows.arrived_ns.tolist() == [11, 13, 10, 12, 14]
