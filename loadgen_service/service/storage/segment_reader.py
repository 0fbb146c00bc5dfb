"""From the segments of a series back to columns and responses. Blocking: call it from a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import (
    COLUMNS,
    REQUEST_COLUMNS,
    SERVER_COLUMNS,
    Columns,
    received_columns,
)
from loadgen_service.core.records.request_table import Make
from loadgen_service.core.records.token_rows import TokenRows, joined
from loadgen_service.service.collect.live_stats import sent_of
from loadgen_service.service.storage.segments import frames


def read_columns(segments: list[tuple[int, Path]], make: Make = np.empty) -> Columns:
    """All record batches of a series, joined; server columns only where some batch has them.

    ``make`` makes the columns.
    Reads twice: with the count known, memory holds the joined columns and one batch.
    """
    count, has_server = 0, set()
    for records in _record_batches(segments):
        count += records.count
        has_server |= SERVER_COLUMNS.keys() & {column.name for column in records.columns}
    wanted = [one for one in COLUMNS if one.name in REQUEST_COLUMNS or one.name in has_server]
    joined_columns: Columns = {one.name: make(count, one.dtype) for one in wanted}
    start = 0
    for records in _record_batches(segments):
        rows = slice(start, start + records.count)
        given = received_columns(sent_of(records), records.count)
        for one in wanted:
            joined_columns[one.name][rows] = given.get(one.name, one.absent)
        start = rows.stop
    return joined_columns


def _record_batches(segments: list[tuple[int, Path]]) -> Iterator[pb.RecordBatch]:
    for batch in _batches(segments):
        if batch.WhichOneof("message") == "records" and batch.records.count:
            yield batch.records


def read_responses(segments: list[tuple[int, Path]]) -> Iterator[tuple[int, bytes]]:
    """``(plan row, serialised response)`` of every response that was kept, one batch at a time."""
    for batch in _batches(segments):
        if batch.WhichOneof("message") != "responses":
            continue
        responses = batch.responses
        rows = np.frombuffer(responses.row, "<i8").tolist()
        ends = np.cumsum(np.frombuffer(responses.length, "<i8")).tolist()
        start = 0
        for row, end in zip(rows, ends, strict=True):
            yield row, responses.content[start:end]
            start = end


def read_tokens(segments: list[tuple[int, Path]]) -> TokenRows:
    """Arrivals of all streamed answers of a series."""
    return joined([_token_rows(b.tokens) for b in _batches(segments) if b.tokens.count])


def _token_rows(batch: pb.TokenBatch) -> TokenRows:
    return TokenRows(
        np.frombuffer(batch.row, "<i8"),
        np.frombuffer(batch.length, "<i8"),
        np.frombuffer(batch.input_token_count, "<i4"),
        np.frombuffer(batch.counted_by, "<u1"),
        np.frombuffer(batch.arrived_ns, "<i8"),
    )


def read_files(segments: list[tuple[int, Path]]) -> Iterator[tuple[str, int, bytes]]:
    """``(name, offset, content)`` of every piece of a file that a worker sent, in its order."""
    for batch in _batches(segments):
        if batch.WhichOneof("message") == "file":
            yield batch.file.name, batch.file.offset, batch.file.content


def _batches(segments: list[tuple[int, Path]]) -> Iterator[pb.Batch]:
    for _, path in segments:
        for payload in frames(path):
            yield pb.Batch.FromString(payload)
