"""Sealed rows and responses as the messages that cross the wire, and the file of the left-over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.worker.outbox import Sealed
from loadgen_service.worker.record_log import SealedRows
from loadgen_service.worker.token_log import SealedTokens

RESPONSES_BYTES_MAX: Final = 1 << 20
"""Responses are cut into batches of about this size, far below any limit on messages."""


@dataclass(slots=True)
class SealedResponses:
    """Responses by plan row: what one response batch carries."""

    series_index: int
    rows: np.ndarray
    messages: Sequence[bytes]

    def release(self) -> None:
        """Nothing to give back: the memory goes with this object."""


@dataclass(slots=True)
class SealedFile:
    """A piece of a file that the run directory gets from this worker."""

    series_index: int
    name: str
    offset: int
    content: bytes

    def release(self) -> None:
        """Nothing to give back: the memory goes with this object."""


@dataclass(slots=True)
class SealedNothing:
    """A batch without rows: the last word of a worker that had nothing to issue."""

    series_index: int

    def release(self) -> None:
        """Nothing to give back."""


def batch_message(sequence: int, sealed: Sealed) -> pb.Batch:
    """The message of one sealed piece."""
    if isinstance(sealed, SealedRows):
        return pb.Batch(records=_record_batch(sequence, sealed))
    if isinstance(sealed, SealedResponses):
        return pb.Batch(responses=_response_batch(sequence, sealed))
    if isinstance(sealed, SealedTokens):
        return pb.Batch(tokens=_token_batch(sequence, sealed))
    if isinstance(sealed, SealedFile):
        return pb.Batch(file=_file_batch(sequence, sealed))
    assert isinstance(sealed, SealedNothing)
    return pb.Batch(records=pb.RecordBatch(sequence=sequence, series_index=sealed.series_index))


def _record_batch(sequence: int, sealed: SealedRows) -> pb.RecordBatch:
    columns = [
        pb.Column(name=name, content=column.tobytes()) for name, column in sealed.columns().items()
    ]
    crc = 0
    for column in columns:
        crc = crc32(column.content, crc)
    return pb.RecordBatch(
        sequence=sequence,
        series_index=sealed.series_index,
        count=sealed.count,
        columns=columns,
        crc32=crc,
    )


def _response_batch(sequence: int, sealed: SealedResponses) -> pb.ResponseBatch:
    rows = sealed.rows.astype("<i8").tobytes()
    lengths = np.array([len(m) for m in sealed.messages], dtype="<i8").tobytes()
    content = b"".join(sealed.messages)
    return pb.ResponseBatch(
        sequence=sequence,
        series_index=sealed.series_index,
        count=len(sealed.messages),
        row=rows,
        length=lengths,
        content=content,
        crc32=crc32(content, crc32(lengths, crc32(rows))),
    )


def _file_batch(sequence: int, sealed: SealedFile) -> pb.FileBatch:
    return pb.FileBatch(
        sequence=sequence,
        series_index=sealed.series_index,
        name=sealed.name,
        offset=sealed.offset,
        content=sealed.content,
        crc32=crc32(sealed.content),
    )


def _token_batch(sequence: int, sealed: SealedTokens) -> pb.TokenBatch:
    rows = sealed.rows
    batch = pb.TokenBatch(
        sequence=sequence,
        series_index=sealed.series_index,
        count=len(rows),
        row=rows.row.astype("<i8").tobytes(),
        length=rows.length.astype("<i8").tobytes(),
        input_token_count=rows.input_token_count.astype("<i4").tobytes(),
        counted_by=rows.counted_by.tobytes(),
        arrived_ns=rows.arrived_ns.astype("<i8").tobytes(),
    )
    crc = 0
    for column in (
        batch.row,
        batch.length,
        batch.input_token_count,
        batch.counted_by,
        batch.arrived_ns,
    ):
        crc = crc32(column, crc)
    batch.crc32 = crc
    return batch


def write_left_over(
    path: Path, opening: pb.BatchStream, kept: Sequence[tuple[int, Sealed]]
) -> None:
    """Batches that no coordinator acknowledged: length-delimited ``Batch`` messages, open first."""
    messages = [pb.Batch(open=opening)]
    messages += [batch_message(sequence, sealed) for sequence, sealed in kept]
    with path.open("xb") as file:
        for message in messages:
            content = message.SerializeToString()
            file.write(len(content).to_bytes(4, "little") + content)
