"""Batches on their way to the collector: numbered, kept until acknowledged, sent again if need be.

Pure: it neither sends nor waits. Sequences count 1, 2, 3 ... over a worker's whole run, records and
responses together.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


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
