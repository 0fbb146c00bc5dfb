"""One call of a caller, from its whole message to its one answer; and where answers go.

Decides nothing about what is answered; sees to it that a call is settled exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sut_server.errors import Code
from sut_server.memory_budget import MemoryBudget


class AnswerSink(Protocol):
    """What a call needs of its connection."""

    def send(self, stream_id: int, parts: list[bytes]) -> None:
        """Send a message of a streamed call; others follow."""

    def answer(self, stream_id: int, parts: list[bytes]) -> None:
        """Send a message (without its gRPC prefix) and status OK."""

    def refuse(self, stream_id: int, code: Code, text: str) -> None:
        """Send a status without a message."""

    def forget(self, stream_id: int) -> None:
        """The call will never be answered."""


class Call:
    """One request; ``alive`` until it is settled, by us or by the caller's leaving.

    ``is_streamed``: it may be sent any number of messages before it is settled. Once settled it
    forgets whom to tell, who holds the request: large messages must not wait for the collector.
    """

    __slots__ = (
        "_budget",
        "_held_bytes",
        "_on_gone",
        "_sink",
        "alive",
        "is_streamed",
        "received_ns",
        "request_id",
        "stream_id",
        "wants_final",
    )

    def __init__(
        self, sink: AnswerSink, stream_id: int, received_ns: int, is_streamed: bool = False
    ) -> None:
        self._sink = sink
        self.is_streamed = is_streamed
        self._on_gone: Callable[[], None] | None = None
        self._budget: MemoryBudget | None = None
        self._held_bytes = 0
        self.stream_id = stream_id
        self.received_ns = received_ns
        self.request_id = ""
        self.wants_final = False
        """Of a streamed request, for its error message: set once the request has been read."""
        self.alive = True

    def hold(self, budget: MemoryBudget, size_bytes: int) -> bool:
        """Count the request's bytes until the call is settled; False where there is no room."""
        if not budget.take(size_bytes):
            return False
        self._budget, self._held_bytes = budget, size_bytes
        return True

    def on_gone(self, call: Callable[[], None]) -> None:
        """Ask to be told if the caller leaves before the answer."""
        self._on_gone = call

    def send(self, parts: list[bytes]) -> None:
        """Send one message of a streamed call, which stays open."""
        if self.alive:
            self._sink.send(self.stream_id, parts)

    def answer(self, parts: list[bytes]) -> None:
        """Send the message in ``parts``; nothing happens if the caller has gone."""
        if self.alive:
            self._settle()
            self._sink.answer(self.stream_id, parts)

    def refuse(self, code: Code, text: str) -> None:
        """End the call with a status and a line for the caller."""
        if self.alive:
            self._settle()
            self._sink.refuse(self.stream_id, code, text)

    def drop(self) -> None:
        """Never answer, as a broken server would; only the caller's deadline ends the call."""
        if self.alive:
            self._settle()
            self._sink.forget(self.stream_id)

    def gone(self) -> None:
        """The caller has cancelled or its connection has closed."""
        if self.alive:
            on_gone = self._on_gone
            self._settle()
            if on_gone is not None:
                on_gone()

    def _settle(self) -> None:
        self.alive = False
        self._on_gone = None
        if self._budget is not None:
            self._budget.release(self._held_bytes)
            self._budget = None
