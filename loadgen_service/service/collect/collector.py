"""Takes the workers' batches in: checks, appends, acknowledges after a group fsync, counts live.

Every batch is stored once, whatever is sent again; what never came is named in ``gaps``. A disk
that refuses ends no process: the batch is answered with an error and the run is told.

Which of one worker's batches are taken in and which are on the disk. Pure: stores nothing.

Sequences count 1, 2, 3 ... over a worker's run. Each is taken once, whatever is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Self

from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import Columns, SentColumn
from loadgen_service.service.collect.live_stats import (
    BatchFigures,
    LiveStats,
    figures_of,
    rows_of,
    sent_of,
)
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segments import Damage, Segment, frames_and_damage


class BatchLedger:
    """One worker's account. ``durable``: the newest batch that an earlier service had stored."""

    def __init__(self, worker_index: int, durable: int = 0) -> None:
        self._worker_index = worker_index
        self.accepted = durable
        self.durable = durable
        self.gaps: list[str] = []
        self._is_damaged = False

    def is_known(self, sequence: int) -> bool:
        """Whether it was taken in before: it is not stored again."""
        return sequence <= self.accepted

    def accept(self, sequence: int) -> None:
        """Take in a batch that is not known; those jumped over are named as a gap.

        Raises ValueError for a known one.
        """
        if self.is_known(sequence):
            raise ValueError(f"batch {sequence} was taken in before")
        if sequence > self.accepted + 1 and not self._is_damaged:
            self.gaps.append(self._gap(self.accepted + 1, sequence - 1))
        self.accepted = sequence
        self._is_damaged = False

    def note_damage(self) -> None:
        """The disk has damaged bytes here: batches that the next one jumps over did come."""
        self._is_damaged = True

    def settle(self, sequence: int) -> None:
        """The batch is on the disk, or the disk refused it and that is named elsewhere."""
        self.durable = max(self.durable, sequence)

    def missing(self, last_sequence: int) -> str:
        """What never came of the batches up to ``last_sequence``; ``""`` if all did."""
        return self._gap(self.durable + 1, last_sequence) if last_sequence > self.durable else ""

    def _gap(self, first: int, last: int) -> str:
        which = f"batch {first}" if first == last else f"batches {first} to {last}"
        return f"worker {self._worker_index}: {which} never came"


GROUP_BYTES: Final = 16 << 20
"""About so much shares an fsync: the senders of a group wait for all of it."""

COMMIT_EVERY_S: Final = 0.1
"""What comes sooner after the last fsync waits for the next: an fsync and its acknowledgements cost
a busy core more than the records in it. As old a worker lets its own rows grow."""

URGENT_BYTES: Final = 4 << 20
"""So much does not wait."""


class CorruptBatch(Exception):
    """A batch whose content is not what its sender said; the sender must send it again."""


class Received(NamedTuple):
    """A batch, and the bytes that it came in, which are stored as they stand."""

    batch: pb.Batch
    content: bytes

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read one message. Raises DecodeError where it is none."""
        return cls(pb.Batch.FromString(content), content)


class _Pending(NamedTuple):
    worker_index: int
    series_index: int
    sequence: int
    payload: bytes
    figures: BatchFigures | None
    answered: asyncio.Future[pb.BatchAck]


class Collector:
    """The batches of one run. Made and used on the event loop; files are written in a thread."""

    def __init__(self, directory: RunDirectory, told: Callable[[], None]) -> None:
        """``told`` is called whenever batches became durable or the disk refused them."""
        self._directory = directory
        self._told = told
        self._ledgers: dict[int, BatchLedger] = {}
        self._pending: dict[tuple[int, int], asyncio.Future[pb.BatchAck]] = {}
        self._segments: dict[tuple[int, int], Segment] = {}
        self._queue: list[_Pending] = []
        self._queued_bytes = 0
        self._awake = asyncio.Event()
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_hurried = False
        self._closed = False
        self._writer = ThreadPoolExecutor(1, "segments")
        self._committing = asyncio.create_task(self._commit_forever())
        self._refusals: list[str] = []
        self.disk_error = ""
        self.live: dict[int, LiveStats] = {}

    def begin_series(self, series_index: int, live: LiveStats) -> None:
        """From now on batches of this series are counted in ``live``."""
        self.live[series_index] = live
        self._is_hurried = False

    def hurry(self) -> None:
        """Until the next series begins store at once what comes: somebody waits for the last."""
        self._is_hurried = True
        self._wake_when_due()

    def take_up(self, live: Mapping[int, LiveStats]) -> None:
        """Count as taken in what an earlier service stored of these series, into their figures.

        Before the first offer only. Blocking: reads every segment; a torn tail is left out. What
        is damaged on the disk is named by the results, which find it again.
        """
        self.live.update(live)
        for series_index, figures in sorted(live.items()):
            for worker_index, path in self._directory.segments(series_index):
                for part in frames_and_damage(path):
                    if not isinstance(part, Damage):
                        self._take_up_one(worker_index, pb.Batch.FromString(part), figures)
                    elif not part.torn:
                        self._ledger(worker_index).note_damage()

    def _take_up_one(self, worker_index: int, batch: pb.Batch, figures: LiveStats) -> None:
        body, ledger = _body(batch), self._ledger(worker_index)
        if not ledger.is_known(body.sequence):
            ledger.accept(body.sequence)
            ledger.settle(body.sequence)
        if isinstance(body, pb.RecordBatch) and body.count:
            figures.take(figures_of(rows_of(body, sent_of(body))), worker_index)

    def durable_sequence(self, worker_index: int) -> int:
        """The worker's newest batch that is on the disk; 0 before the first."""
        ledger = self._ledgers.get(worker_index)
        return ledger.durable if ledger else 0

    def offer(self, worker_index: int, received: Received) -> asyncio.Future[pb.BatchAck]:
        """Take in one batch; the future gives its acknowledgement once it is durable.

        Raises CorruptBatch where the content does not fit its checksum or count.
        """
        body = _body(received.batch)
        rows = checked_rows(body)
        ledger = self._ledger(worker_index)
        sequence = body.sequence
        if ledger.is_known(sequence):
            pending = self._pending.get((worker_index, sequence))
            return pending or _settled(pb.BatchAck(sequence=sequence))
        if self._closed:
            return _settled(pb.BatchAck(sequence=sequence, error="the run is over"))
        ledger.accept(sequence)
        answered: asyncio.Future[pb.BatchAck] = asyncio.get_running_loop().create_future()
        self._pending[worker_index, sequence] = answered
        self._queue.append(
            _Pending(
                worker_index,
                body.series_index,
                sequence,
                received.content,
                figures_of(rows) if rows else None,
                answered,
            )
        )
        self._queued_bytes += len(received.content)
        self._wake_when_due()
        return answered

    def _ledger(self, worker_index: int) -> BatchLedger:
        return self._ledgers.setdefault(worker_index, BatchLedger(worker_index))

    def name_missing(self, worker_index: int, last_sequence: int) -> None:
        """A worker's last batch was this; what never came of them becomes a gap."""
        missing = self._ledger(worker_index).missing(last_sequence)
        if missing:
            self._refusals.append(missing)

    @property
    def gaps(self) -> list[str]:
        """What never came or could not be stored, one line each."""
        jumped = [gap for _, ledger in sorted(self._ledgers.items()) for gap in ledger.gaps]
        return [*jumped, *self._refusals]

    async def _commit_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self._closed and not self._queue):
            await self._awake.wait()
            self._awake.clear()
            if group := self._next_group():
                self._due_s = loop.time() + COMMIT_EVERY_S
                error = await loop.run_in_executor(self._writer, self._commit, group)
                self._acknowledge(group, error)
                self._told()
            if self._queue:
                self._wake_when_due()

    def _wake_when_due(self) -> None:
        if self._closed or self._is_hurried or self._queued_bytes >= URGENT_BYTES:
            self._awake.set()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._due_s, loop.time()), self._be_due)

    def _be_due(self) -> None:
        self._timer = None
        self._awake.set()

    def _next_group(self) -> list[_Pending]:
        size, end = 0, 0
        while end < len(self._queue) and size < GROUP_BYTES:
            size += len(self._queue[end].payload)
            end += 1
        group, self._queue = self._queue[:end], self._queue[end:]
        self._queued_bytes -= size
        return group

    def _commit(self, group: list[_Pending]) -> str:
        """In the thread: append and sync; returns the disk's complaint or ``""``."""
        payloads: dict[tuple[int, int], list[bytes]] = {}
        for item in group:
            payloads.setdefault((item.series_index, item.worker_index), []).append(item.payload)
        try:
            touched = [self._segment(*key) for key in payloads]
            for segment, mine in zip(touched, payloads.values(), strict=True):
                segment.append(*mine)
            for segment in touched:
                segment.sync()
        except OSError as error:
            return f"{self._directory.path}: {error.strerror or error}"
        return ""

    def _segment(self, series_index: int, worker_index: int) -> Segment:
        key = (series_index, worker_index)
        segment = self._segments.get(key)
        if segment is None:
            segment = Segment(self._directory.segment(series_index, worker_index))
            self._segments[key] = segment
        return segment

    def _acknowledge(self, group: list[_Pending], error: str) -> None:
        if error and not self.disk_error:
            self.disk_error = error
            self._refusals.append(f"records could not be stored: {error}")
        for item in group:
            self._pending.pop((item.worker_index, item.sequence), None)
            self._ledgers[item.worker_index].settle(item.sequence)
            if not item.answered.done():
                item.answered.set_result(pb.BatchAck(sequence=item.sequence, error=error))
            if not error and item.figures:
                live = self.live.setdefault(item.series_index, LiveStats())
                live.take(item.figures, item.worker_index)

    async def close(self) -> None:
        """Store what was taken in, refuse what comes later, close the files."""
        self._closed = True
        self._awake.set()
        await self._committing
        if self._timer is not None:
            self._timer.cancel()
        for segment in self._segments.values():
            segment.close()
        self._writer.shutdown(wait=False)


Body = pb.RecordBatch | pb.ResponseBatch | pb.TokenBatch | pb.FileBatch


def _body(batch: pb.Batch) -> Body:
    kind = batch.WhichOneof("message")
    if kind == "tokens":
        return batch.tokens
    if kind == "file":
        return batch.file
    return batch.records if kind == "records" else batch.responses


def checked_rows(body: Body) -> Columns:
    """The rows of a batch of records, none of any other.

    Raises CorruptBatch unless checksum and counts fit the content.
    """
    sent: list[SentColumn] = []
    if isinstance(body, pb.RecordBatch):
        sent = sent_of(body)
        parts = [one.content for one in sent]
    elif isinstance(body, pb.TokenBatch):
        parts = [
            body.row, body.length, body.input_token_count, body.counted_by, body.arrived_ns
        ]  # fmt: skip
        if [len(part) for part in parts[:4]] != [size * body.count for size in (8, 8, 4, 1)]:
            raise CorruptBatch(f"batch {body.sequence}: {body.count} streams do not fit it")
    elif isinstance(body, pb.FileBatch):
        parts = [body.content]
    else:
        parts = [body.row, body.length, body.content]
        if len(body.row) != 8 * body.count or len(body.length) != 8 * body.count:
            raise CorruptBatch(f"batch {body.sequence}: {body.count} responses do not fit it")
    crc = 0
    for part in parts:
        crc = crc32(part, crc)
    if crc != body.crc32:
        raise CorruptBatch(f"batch {body.sequence}: checksum does not fit its content")
    if not isinstance(body, pb.RecordBatch):
        return {}
    try:
        return rows_of(body, sent)
    except ValueError as error:
        raise CorruptBatch(f"batch {body.sequence}: {error}") from None


def _settled(ack: pb.BatchAck) -> asyncio.Future[pb.BatchAck]:
    future: asyncio.Future[pb.BatchAck] = asyncio.get_running_loop().create_future()
    future.set_result(ack)
    return future
