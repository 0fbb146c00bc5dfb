"""A fleet in virtual time: real outboxes and ledgers, simulated wires, disks and deaths.

Nothing here sleeps; one seed decides everything, so a failing seed can be played again.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from loadgen_service.core.facts.run import SeriesFacts, WorkerFacts
from loadgen_service.core.records.columns import REQUEST_COLUMNS, Status
from loadgen_service.service.collect.collector import BatchLedger
from loadgen_service.worker.uplink.sender import Outbox

RECONNECT_MS = 300.0
SYNC_MS = 5.0
END_MS = 120_000.0


@dataclass
class Batch:
    """What a sealed batch holds: rows of the plan. ``released``: acknowledged as durable."""

    rows: list[int]
    released: bool = False

    def release(self) -> None:
        self.released = True


@dataclass(frozen=True)
class Stored:
    """One frame of the simulated disk."""

    worker: int
    sequence: int
    rows: tuple[int, ...]


class Clock:
    """Events in order of their time."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self._order = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, delay_ms: float, what: Callable[[], None]) -> None:
        self.at(self.now_ms + delay_ms, what)

    def at(self, at_ms: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (at_ms, self._order, what))

    def run(self) -> None:
        while self._events and self._events[0][0] <= END_MS:
            self.now_ms, _, what = heapq.heappop(self._events)
            what()


@dataclass
class Service:
    """The collector's part: ledgers in memory, frames on a disk that survives a death."""

    clock: Clock
    disk: list[Stored] = field(default_factory=list)
    ledgers: dict[int, BatchLedger] = field(default_factory=dict)
    waiting: list[Stored] = field(default_factory=list)
    life: int = 0
    is_up: bool = True
    gaps: list[str] = field(default_factory=list)

    def ledger(self, worker: int) -> BatchLedger:
        return self.ledgers.setdefault(worker, BatchLedger(worker))

    def die(self) -> None:
        """SIGKILL: what was not synced is gone, and every connection with it."""
        self.is_up, self.life, self.waiting = False, self.life + 1, []
        self.gaps += [gap for ledger in self.ledgers.values() for gap in ledger.gaps]
        self.ledgers = {}

    def come_back(self) -> None:
        """A new service on the same directory knows what the disk holds."""
        self.is_up = True
        for frame in self.disk:
            ledger = self.ledger(frame.worker)
            if not ledger.is_known(frame.sequence):
                ledger.accept(frame.sequence)
                ledger.settle(frame.sequence)

    def offer(self, frame: Stored, acknowledge: Callable[[int], None]) -> None:
        """Take one batch in, as the collector does; the acknowledgement follows the sync."""
        ledger = self.ledger(frame.worker)
        if ledger.is_known(frame.sequence):
            if frame.sequence <= ledger.durable:
                acknowledge(frame.sequence)
            return
        ledger.accept(frame.sequence)
        self.waiting.append(frame)
        life = self.life
        self.clock.after(SYNC_MS, lambda: self._sync(life, frame, acknowledge))

    def _sync(self, life: int, frame: Stored, acknowledge: Callable[[int], None]) -> None:
        if life != self.life:
            return
        self.waiting.remove(frame)
        self.disk.append(frame)
        self.ledger(frame.worker).settle(frame.sequence)
        acknowledge(frame.sequence)


class Worker:
    """A worker's outbox and its connection, which breaks, heals and corrupts as it is told."""

    def __init__(self, index: int, clock: Clock, service: Service, dice: random.Random) -> None:
        self.index, self.outbox = index, Outbox()
        self.issued: list[int] = []
        self.is_alive = True
        self._clock, self._service, self._dice = clock, service, dice
        self._connection = 0
        self._is_open = False
        self._is_cut = False
        self._peer_life = 0
        self._free_at_ms = 0.0
        self.latency_ms = dice.uniform(0.1, 80)
        self.corrupt_share = dice.choice([0.0, 0.0, 0.05])
        self.connect()

    def issue(self, rows: list[int]) -> None:
        """Requests are issued and settled; their records are sealed in one batch."""
        if self.is_alive:
            self.issued += rows
            self.outbox.put(Batch(rows))
            self.send()

    def cut(self, for_ms: float) -> None:
        """A partition: the connection is dead and no new one comes up."""
        self._is_cut = True
        self.break_off()
        self._clock.after(for_ms, self._heal)

    def _heal(self) -> None:
        self._is_cut = False

    def break_off(self) -> None:
        """The connection ends: all in flight is lost, in both directions."""
        if self._is_open:
            self._is_open = False
            self._connection += 1
            self._clock.after(RECONNECT_MS, self.connect)

    def connect(self) -> None:
        if not self.is_alive or self._is_open:
            return
        if self._is_cut or not self._service.is_up:
            self._clock.after(RECONNECT_MS, self.connect)
            return
        self._is_open, self._peer_life = True, self._service.life
        self.outbox.rewind()
        self.send()

    def die(self) -> None:
        self.is_alive = self._is_open = False
        self._connection += 1

    def send(self) -> None:
        """Everything unsent into the connection, in order."""
        while self._is_open and (taken := self.outbox.take()) is not None:
            sequence, batch = taken
            assert isinstance(batch, Batch)
            frame = Stored(self.index, sequence, tuple(batch.rows))
            connection = self._connection
            delay_ms = self._dice.expovariate(1 / self.latency_ms)
            at_ms = max(self._clock.now_ms + delay_ms, self._free_at_ms)
            self._free_at_ms = at_ms  # a stream keeps its order
            self._clock.at(
                at_ms,
                lambda f=frame, c=connection: self._arrive(f, c),  # type: ignore[misc]
            )

    def _arrive(self, frame: Stored, connection: int) -> None:
        if connection != self._connection:
            return
        if not self._service.is_up or self._peer_life != self._service.life:
            self.break_off()
        elif self._dice.random() < self.corrupt_share:
            self.break_off()  # the checksum tells; the stream is refused
        else:
            self._service.offer(frame, lambda sequence: self._answer(sequence, connection))

    def _answer(self, sequence: int, connection: int) -> None:
        delay_ms = self._dice.expovariate(1 / self.latency_ms)
        self._clock.after(delay_ms, lambda: self._acknowledge(sequence, connection))

    def _acknowledge(self, sequence: int, connection: int) -> None:
        if connection == self._connection and self._is_open:
            self.outbox.acknowledge(sequence)


@dataclass
class Ended:
    """A world at its end."""

    workers: list[Worker]
    service: Service

    def columns(self) -> dict[str, np.ndarray]:
        """The disk's rows as record columns."""
        rows = [row for frame in self.service.disk for row in frame.rows]
        owner = [frame.worker for frame in self.service.disk for _ in frame.rows]
        zeros = {name: np.zeros(len(rows), dtype) for name, dtype in REQUEST_COLUMNS.items()}
        given = {"row": rows, "worker_index": owner, "status": [Status.COMPLETED] * len(rows)}
        return zeros | {
            name: np.array(content, REQUEST_COLUMNS[name])
            for name, content in given.items()
            if name in REQUEST_COLUMNS
        }

    def facts(self) -> SeriesFacts:
        """What a service would know of the workers."""
        return SeriesFacts(
            series_index=0,
            workers=tuple(
                WorkerFacts(
                    worker_index=worker.index,
                    lost=not worker.is_alive,
                    lost_reason="" if worker.is_alive else "killed",
                    issued_count=len(worker.issued),
                )
                for worker in self.workers
            ),
        )


def play(seed: int, shards: list[list[int]]) -> Ended:
    """One world of this seed: workers issue their shards while faults come."""
    dice, clock = random.Random(seed), Clock()
    service = Service(clock)
    workers = [Worker(index, clock, service, dice) for index in range(len(shards))]
    for worker, rows in zip(workers, shards, strict=True):
        _schedule(clock, dice, worker, rows)
    for _ in range(dice.randrange(6)):
        _throw(clock, dice, service, workers)
    clock.run()
    return Ended(workers, service)


def _schedule(clock: Clock, dice: random.Random, worker: Worker, rows: list[int]) -> None:
    at_ms, start = 0.0, 0
    while start < len(rows):
        size = dice.randint(1, 12)
        at_ms += dice.uniform(1, 200)
        part = rows[start : start + size]
        clock.after(at_ms, functools.partial(worker.issue, part))
        start += size


def _throw(clock: Clock, dice: random.Random, service: Service, workers: list[Worker]) -> None:
    worker, at_ms = dice.choice(workers), dice.uniform(0, 8_000)
    fault = dice.choice(["break", "break", "cut", "service", "kill"])
    if fault == "break":
        clock.after(at_ms, worker.break_off)
    elif fault == "cut":
        for_ms = dice.uniform(100, 10_000)
        clock.after(at_ms, lambda: worker.cut(for_ms))
    elif fault == "service":
        clock.after(at_ms, service.die)
        for each in workers:  # its kernel closes the connections
            clock.after(at_ms + each.latency_ms, each.break_off)
        clock.after(at_ms + dice.uniform(10, 5_000), service.come_back)
    else:
        clock.after(at_ms, worker.die)
