"""Sealed rows and responses as the messages that cross the wire, and the file of the left-over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import sent_columns
from loadgen_service.worker.records.record_log import SealedRows
from loadgen_service.worker.records.token_log import SealedTokens
from loadgen_service.worker.uplink.outbox import Sealed

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
    """The message of one sealed piece.

    Filled in place: protobuf copies whatever is made before and given to it.
    """
    message = pb.Batch()
    if isinstance(sealed, SealedRows):
        _fill_records(message.records, sequence, sealed)
    elif isinstance(sealed, SealedResponses):
        _fill_responses(message.responses, sequence, sealed)
    elif isinstance(sealed, SealedTokens):
        _fill_tokens(message.tokens, sequence, sealed)
    elif isinstance(sealed, SealedFile):
        _fill_file(message.file, sequence, sealed)
    else:
        assert isinstance(sealed, SealedNothing)
        message.records.sequence = sequence
        message.records.series_index = sealed.series_index
    return message


def _fill_records(batch: pb.RecordBatch, sequence: int, sealed: SealedRows) -> None:
    batch.sequence = sequence
    batch.series_index = sealed.series_index
    batch.count = sealed.count
    crc = 0
    for sent in sent_columns(sealed.columns()):
        batch.columns.add(**sent._asdict())
        crc = crc32(sent.content, crc)
    batch.crc32 = crc


def _fill_responses(batch: pb.ResponseBatch, sequence: int, sealed: SealedResponses) -> None:
    rows = sealed.rows.astype("<i8").tobytes()
    lengths = np.array([len(m) for m in sealed.messages], dtype="<i8").tobytes()
    content = b"".join(sealed.messages)
    batch.sequence = sequence
    batch.series_index = sealed.series_index
    batch.count = len(sealed.messages)
    batch.row, batch.length, batch.content = rows, lengths, content
    batch.crc32 = crc32(content, crc32(lengths, crc32(rows)))


def _fill_file(batch: pb.FileBatch, sequence: int, sealed: SealedFile) -> None:
    batch.sequence = sequence
    batch.series_index = sealed.series_index
    batch.name = sealed.name
    batch.offset = sealed.offset
    batch.content = sealed.content
    batch.crc32 = crc32(sealed.content)


def _fill_tokens(batch: pb.TokenBatch, sequence: int, sealed: SealedTokens) -> None:
    rows = sealed.rows
    columns = {
        "row": rows.row.astype("<i8").tobytes(),
        "length": rows.length.astype("<i8").tobytes(),
        "input_token_count": rows.input_token_count.astype("<i4").tobytes(),
        "counted_by": rows.counted_by.tobytes(),
        "arrived_ns": rows.arrived_ns.astype("<i8").tobytes(),
    }
    batch.sequence = sequence
    batch.series_index = sealed.series_index
    batch.count = len(rows)
    crc = 0
    for name, content in columns.items():
        setattr(batch, name, content)
        crc = crc32(content, crc)
    batch.crc32 = crc


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
