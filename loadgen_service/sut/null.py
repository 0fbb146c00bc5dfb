"""A SUT without a network: it answers every call by itself, and so measures the generator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from grpc_wire.events import DONE

from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.units import NS_PER_S
from loadgen_service.sut.interface import Cell, Event, Parts, Sink


class NullSut:
    """Answers in the loop's next turn, or ``delay_ns`` later (in the loop's own milliseconds)."""

    def __init__(
        self,
        sink: Sink,
        delay_ns: int = 0,
        answer: bytes = b"",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.address = "null"
        self.blocked_count = 0
        self._sink = sink
        self._delay_s = delay_ns / NS_PER_S
        self._answer = answer
        self._clock = clock
        self._cells: list[Cell] = []
        self._events: list[Event] = []
        self._open: set[int] = set()

    @property
    def waiting_count(self) -> int:
        """Calls taken over and not handed over yet."""
        return len(self._cells)

    async def open(self) -> None:
        """See ``interface.SystemUnderTest``."""

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """See ``interface.SystemUnderTest``."""
        cell = [released_ns, NEVER]
        self._cells.append(cell)
        self._events.append((DONE, key, 0, self._answer, ""))
        self._open.add(key)
        return cell

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        """See ``interface.SystemUnderTest``; nobody reads the context."""
        return self.issue(key, parts, released_ns)

    def flush(self) -> None:
        """See ``interface.SystemUnderTest``."""
        events, self._events = self._events, []
        now_ns = self._clock()
        for cell in self._cells:
            cell[1] = now_ns
        self._cells.clear()
        loop = asyncio.get_running_loop()
        if self._delay_s:
            loop.call_later(self._delay_s, self._answer_all, events)
        else:
            loop.call_soon(self._answer_all, events)

    def _answer_all(self, events: list[Event]) -> None:
        still = [event for event in events if event[1] in self._open]
        self._open.difference_update(event[1] for event in still)
        self._sink(self._clock(), still)

    def cancel(self, key: int) -> None:
        """See ``interface.SystemUnderTest``."""
        self._open.discard(key)

    def sweep(self, now_ns: int) -> None:
        """Nothing waits here."""

    async def close(self) -> None:
        """See ``interface.SystemUnderTest``."""
        self._open.clear()
