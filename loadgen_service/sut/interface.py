"""What the loop asks of a system under test, whatever carries the calls.

An adapter owns no decision about load: it hands over what it is given, stamps the instant at which
it did so, and reports what came back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from grpc_wire.events import DONE, MESSAGE, REFUSED

Parts = bytes | tuple[bytes | memoryview, ...]
"""One gRPC message with its 5-byte prefix: joined if small, in parts (uncopied) if large."""

Event = tuple[Any, ...]
"""``(DONE, key, code, message or None, text)`` or ``(MESSAGE, key, message)``, a piece of a
streamed answer, with its choice behind it where that is not 0; others are skipped by the loop.
``(REFUSED, key, text)``: the SUT has certainly not processed the request; the loop issues it again.
``key`` is what ``issue`` was given. A DONE may have a sixth element, the ``Usage``; without one
each piece counts as a token."""

NO_PIECES: Final = b""
"""What a reader of answers gives where no output came; else a byte a piece: its choice."""

Usage = tuple[int, int, int]
"""Output tokens, input tokens (-1: unknown), and who counted them (core.token_rows.CountedBy)."""

Sink = Callable[[int, Sequence[Event]], None]
"""Called with one instant (absolute monotonic ns, read once per wake-up) and what it brought."""

Cell = list[int]
"""``[released_ns, issued_ns]``, shared by the calls handed over together; -1 until they are."""

TAKEN: Final = 0
ISSUED: Final = 1

CODE_CANCELLED: Final = 1
CODE_UNAVAILABLE: Final = 14
CODE_BROKEN_CONNECTION: Final = 255

__all__ = [
    "CODE_BROKEN_CONNECTION",
    "CODE_CANCELLED",
    "CODE_UNAVAILABLE",
    "DONE",
    "ISSUED",
    "MESSAGE",
    "NO_PIECES",
    "REFUSED",
    "TAKEN",
    "Cell",
    "Event",
    "IssuesEach",
    "Parts",
    "Sink",
    "SystemUnderTest",
    "Usage",
]


class SystemUnderTest(Protocol):
    """One SUT, over as many connections as the user asked for.

    ``blocked_count`` counts calls that had to wait for a free stream, a writable socket or a
    connection. No method but ``open`` and ``close`` waits.
    """

    address: str

    @property
    def blocked_count(self) -> int:
        """See above."""

    @property
    def waiting_count(self) -> int:
        """Calls taken over and not handed over yet."""

    async def open(self) -> None:
        """Connect, or raise ``SutError`` with one line."""

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """Take over one call; hand it over at the next ``flush``, or as soon as there is room."""

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        """``issue`` with a W3C trace context in the request's headers; it may take longer."""

    def flush(self) -> None:
        """Hand over to the transport all that was issued, stamping the instant in the cells."""

    def cancel(self, key: int) -> None:
        """Forget the call; nothing is reported for it any more."""

    def sweep(self, now_ns: int) -> None:
        """Settle calls that have waited too long to be handed over."""

    async def close(self) -> None:
        """Close every connection; calls still open are not reported."""


@runtime_checkable
class IssuesEach(Protocol):
    """What an adapter may offer beside: several calls with one look at the connection."""

    def issue_each(
        self, keys: Sequence[int], messages: Sequence[Parts], released_ns: int
    ) -> tuple[int, Cell | None]:
        """``issue`` for the first of ``keys``; how many were taken, and the cell that they share.

        (0, None): nothing was done. The rest is for ``issue``.
        """
