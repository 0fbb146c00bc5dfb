"""Answers of several connections, read in one turn of the event loop, reported together.

A report costs its way through the worker's loop by itself, and with many connections each read
brings few answers. Every read keeps its own instant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from loadgen_service.sut.interface import Event

EVENTS_MAX: Final = 32
"""So many are reported without waiting for the turn's end: the first has waited some 100 us."""

Read = tuple[int, Sequence[Event]]
"""The instant (absolute monotonic ns) of a read, and what it brought."""


class ReadCoalescer:
    """A sink that passes reads on in groups: at EVENTS_MAX events, or once the turn is over."""

    def __init__(
        self,
        target: Callable[[Sequence[Read]], None],
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """``call_soon`` calls back after the reads of this turn, as an event loop's does."""
        self._target = target
        self._call_soon = call_soon
        self._reads: list[Read] = []
        self._event_count = 0

    def __call__(self, now_ns: int, events: Sequence[Event]) -> None:
        """Take in one read."""
        reads = self._reads
        reads.append((now_ns, events))
        self._event_count += len(events)
        if self._event_count >= EVENTS_MAX:
            self.report()
        elif len(reads) == 1:
            self._call_soon(self.report)

    def report(self) -> None:
        """Pass on what has been gathered, if anything."""
        reads = self._reads
        if reads:
            self._reads, self._event_count = [], 0
            self._target(reads)
