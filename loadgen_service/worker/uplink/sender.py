"""Batches to the collector: one stream a run, begun again after a break, nothing sent unnumbered.

What is not acknowledged is sent again under the same sequence on the next connection.

Batches on their way to the collector: numbered, kept until acknowledged, sent again if need be.

Pure: it neither sends nor waits. Sequences count 1, 2, 3 ... over a worker's whole run, records and
responses together.

Sealed rows and responses as the messages that cross the wire, and the file of the left-over.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final, Protocol, TypeAlias

import grpc
import numpy as np
from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.core.records.columns import sent_columns
from loadgen_service.worker.records.record_log import SealedRows
from loadgen_service.worker.records.token_log import SealedTokens

_LEFT_OVER_HEAD: Final = Struct("<II")

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
    """Batches that no coordinator acknowledged: ``Batch`` messages, open first, each behind its
    length and its CRC-32 (4 bytes each, little-endian)."""
    messages = [pb.Batch(open=opening)]
    messages += [batch_message(sequence, sealed) for sequence, sealed in kept]
    with path.open("xb") as file:
        for message in messages:
            content = message.SerializeToString()
            file.write(_LEFT_OVER_HEAD.pack(len(content), crc32(content)) + content)


def read_left_over(path: Path) -> tuple[list[pb.Batch], list[str]]:
    """The whole messages of such a file up to its first damage, and that damage in words."""
    content = path.read_bytes()
    whole: list[pb.Batch] = []
    at = 0
    while at < len(content):
        head = content[at : at + _LEFT_OVER_HEAD.size]
        length, crc = _LEFT_OVER_HEAD.unpack(head) if len(head) == _LEFT_OVER_HEAD.size else (0, 1)
        message = content[at + len(head) : at + len(head) + length]
        if len(message) != length or crc32(message) != crc:
            return whole, [f"{path}: damaged at byte {at}; what follows was left out"]
        whole.append(pb.Batch.FromString(message))
        at += len(head) + length
    return whole, []


class Sealed(Protocol):
    """What one batch carries; ``release`` is called once it is durable at the collector."""

    def release(self) -> None: ...


class Outbox:
    """Sealed pieces in order. An acknowledgement of n covers every sequence up to n."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Sealed] = OrderedDict()
        self._next_sequence = 1
        self._next_unsent = 1

    @property
    def last_sequence(self) -> int:
        """The newest sequence given, 0 before the first."""
        return self._next_sequence - 1

    @property
    def unacknowledged_count(self) -> int:
        return len(self._kept)

    @property
    def unsent_count(self) -> int:
        return self._next_sequence - self._next_unsent

    def put(self, sealed: Sealed) -> int:
        """Number a piece and keep it."""
        sequence = self._next_sequence
        self._kept[sequence] = sealed
        self._next_sequence += 1
        return sequence

    def take(self) -> tuple[int, Sealed] | None:
        """The next piece to send, oldest first; None if all were sent."""
        sequence = self._next_unsent
        if sequence >= self._next_sequence:
            return None
        self._next_unsent += 1
        return sequence, self._kept[sequence]

    def acknowledge(self, sequence: int) -> None:
        """Release everything up to ``sequence``; an old or repeated one changes nothing.

        Raises ValueError for a sequence that was never sent: the peer is confused.
        """
        if sequence >= self._next_unsent:
            raise ValueError(
                f"batch {sequence} was acknowledged, but only {self._next_unsent - 1} were sent"
            )
        while self._kept and next(iter(self._kept)) <= sequence:
            self._kept.popitem(last=False)[1].release()

    def rewind(self) -> None:
        """After a new connection: send again all that is not acknowledged, same sequences."""
        self._next_unsent = next(iter(self._kept), self._next_sequence)

    def kept(self) -> list[tuple[int, Sealed]]:
        """Everything unacknowledged, oldest first."""
        return list(self._kept.items())


FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 2.0

BatchCall: TypeAlias = "grpc.aio.StreamStreamCall[pb.Batch, pb.BatchAck]"


class SignallingOutbox(Outbox):
    """An outbox that wakes its uplink."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = asyncio.Event()
        self.emptied = asyncio.Event()

    def put(self, sealed: Sealed) -> int:
        """Number a piece, keep it, and have it sent."""
        self.emptied.clear()
        sequence = super().put(sealed)
        self.filled.set()
        return sequence

    def acknowledge(self, sequence: int) -> None:
        """Release everything up to ``sequence``."""
        super().acknowledge(sequence)
        if not self.unacknowledged_count:
            self.emptied.set()


class Uplink:
    """Sends one run's outbox until cancelled. ``last_error`` says why batches are not leaving."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]],
        opening: pb.BatchStream,
        outbox: SignallingOutbox,
    ) -> None:
        self._stub = pb_grpc.FleetStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = tuple(metadata)
        self._opening = opening
        self._outbox = outbox
        self.last_error = ""

    async def run(self) -> None:
        """Keep a stream open, whatever happens to it."""
        pause_s = FIRST_BACKOFF_S
        while True:
            before = self._outbox.unacknowledged_count
            self._outbox.rewind()
            try:
                await self._converse()
                self.last_error = "the coordinator closed the record stream"
            except grpc.aio.AioRpcError as error:
                self.last_error = f"{error.code().name}: {error.details()}"
            except ValueError as error:  # an acknowledgement of what was never sent
                self.last_error = str(error)
            if self._outbox.unacknowledged_count < before:
                pause_s = FIRST_BACKOFF_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)

    async def _converse(self) -> None:
        call = self._stub.Records(metadata=self._metadata)
        writer = asyncio.create_task(self._write(call))
        try:
            async for ack in call:
                if ack.error:
                    # The coordinator has named the gap; sending the batch again would not help.
                    self.last_error = ack.error
                self._outbox.acknowledge(ack.sequence)
        finally:
            # It must be gone before the outbox is rewound: it would take a batch into a dead call.
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            call.cancel()

    async def _write(self, call: BatchCall) -> None:
        await call.write(pb.Batch(open=self._opening))
        while True:
            taken = self._outbox.take()
            if taken is not None:
                await call.write(batch_message(*taken))
                continue
            self._outbox.filled.clear()
            await self._outbox.filled.wait()
