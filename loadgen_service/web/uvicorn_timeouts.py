"""uvicorn's HTTP/1.1 protocol, with a deadline for the head of every request, and an end to
bodies that nobody wants.

uvicorn waits for ever for the first byte and for the end of the headers; a page of anybody's could
hold all of a service's descriptors that way.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
HEAD_BYTES_MAX: Final = 64 << 10
CONNECTIONS_MAX: Final = 256
LEFT_OVER_BYTES_MAX: Final = 4 << 20
"""Of a body that was answered before its end: enough for an honest caller to read the answer."""


class TimeoutProtocol(H11Protocol):
    """Closes a connection that spends two looks in a row, ``head_s`` apart, in one head."""

    head_s = HEAD_S

    def connection_made(self, transport: Any) -> None:
        """Begin to look."""
        super().connection_made(transport)
        self._heads = 0
        self._left_over_bytes = 0
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """Count the requests whose heads are whole, and what comes behind an answer."""
        before = self.cycle
        super().data_received(data)
        self._heads += self.cycle is not before
        self._left_over_bytes = self._left_over_bytes + len(data) if self._is_left_over() else 0
        if self._left_over_bytes > LEFT_OVER_BYTES_MAX:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._looking.cancel()
        super().connection_lost(exc)

    def _is_left_over(self) -> bool:
        """The answer is given, and the caller still sends its request."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return is_answered and self.conn.their_state is h11.SEND_BODY

    def _look_later(self) -> None:
        loop: asyncio.AbstractEventLoop = self.loop
        self._looking = loop.call_later(self.head_s, self._look, self._heads)

    def _look(self, heads_then: int) -> None:
        is_waiting = self.conn.their_state is h11.IDLE or self._is_left_over()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_waiting and not is_answering and heads_then == self._heads:
            self.transport.close()
        else:
            self._look_later()
