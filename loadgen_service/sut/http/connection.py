"""One HTTP/1.1 connection: one call at a time, its bytes stamped when they arrive.

The clock is read once a read, before anything is parsed. On a plain socket the request is written
by the link itself, as on the gRPC side, so that the issue instant is the send's.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import httptools

from loadgen_service.sut.interface import CODE_BROKEN_CONNECTION, DONE, MESSAGE, Event, Usage

if TYPE_CHECKING:

    class LinkOwner(Protocol):
        """What a link reports to."""

        def on_events(self, now_ns: int, events: Sequence[Event]) -> None: ...
        def on_free(self, link: HttpLink, now_ns: int) -> None: ...
        def on_lost(self, link: HttpLink, now_ns: int, reason: str) -> None: ...


CODE_INTERNAL: Final = 13
BODY_BYTES_MAX: Final = 1 << 30


class Answer(Protocol):
    """Reads one answer; see ``openai_answer`` and ``kserve_http``."""

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None: ...
    def feed(self, data: bytes) -> int: ...
    def end(self) -> int: ...
    def ending(self) -> tuple[int, bytes | None, str, Usage | None]: ...


class HttpLink(asyncio.Protocol):
    """``key`` is the open call's, or None; ``idle_since_ns`` tells how long a free link rested.

    ``call_count``: calls made on it.
    """

    def __init__(self, owner: LinkOwner, clock: Callable[[], int], direct: bool) -> None:
        self.key: int | None = None
        self.idle_since_ns = 0
        self.call_count = 0
        self.is_open = False
        self._owner = owner
        self._clock = clock
        self._direct = direct
        self._fd = -1
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: dict[bytes, bytes] = {}
        self._events: list[Event] = []
        self._has_head = False

    # ------------------------------------------------------------ issuing
    def send(self, key: int, request: bytes, answer: Answer) -> None:
        """Write a whole request; the link is busy until its answer is whole."""
        self.key = key
        self.call_count += 1
        self._answer = answer
        self._has_head = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # connection_lost is on its way and settles the call
        if self._direct and not transport.get_write_buffer_size():
            try:
                sent = os.write(self._fd, request)
            except BlockingIOError:
                sent = 0
            except OSError:
                transport.abort()
                return
            if sent == len(request):
                return
            request = request[sent:]
        transport.write(request)

    def close(self) -> None:
        """Close now; an open call is reported as broken unless it was forgotten before."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def forget(self) -> None:
        """Report nothing more of the open call, and close: HTTP/1.1 has no other way to cancel."""
        self.key = None
        self._answer = None
        self.close()

    # ------------------------------------------------------------ asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = plain.fileno()
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        now_ns = self._clock()
        fault = ""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            fault = f"not HTTP/1.1: {error}"
        events = self._events
        if events:
            self._events = []
        if fault:
            self._fail(events, CODE_INTERNAL, fault)
            self.close()
        if events:
            self._owner.on_events(now_ns, events)
        if self.is_open and self.key is None:
            self.idle_since_ns = now_ns
            self._owner.on_free(self, now_ns)

    def connection_lost(self, error: Exception | None) -> None:
        now_ns = self._clock()
        self.is_open = False
        self._transport = None
        self._fd = -1
        reason = str(error) if error else "closed by the server"
        events: list[Event] = []
        if self.key is not None and self._has_head and not error and self._ends_by_closing():
            self._settle(events)  # an answer without a length ends with its connection
        self._fail(events, CODE_BROKEN_CONNECTION, f"connection {reason} before the answer's end")
        if events:
            self._owner.on_events(now_ns, events)
        self._owner.on_lost(self, now_ns, reason)

    def _ends_by_closing(self) -> bool:
        return b"content-length" not in self._headers and b"transfer-encoding" not in self._headers

    # ------------------------------------------------------------ the parser's callbacks
    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        parser: Any = self._parser
        self._has_head = True
        if self._answer is not None:
            self._answer.begin(parser.get_status_code(), self._headers)

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None:
            for _ in range(answer.feed(data)):
                self._events.append((MESSAGE, self.key, None))

    def on_message_complete(self) -> None:
        parser: Any = self._parser
        if parser.get_status_code() < 200:
            return  # 100 Continue and its like: the answer is still to come
        if self.key is not None:
            self._settle(self._events)
        if not parser.should_keep_alive():
            self.close()

    def _settle(self, events: list[Event]) -> None:
        """The answer is whole."""
        key, answer = self.key, self._answer
        assert answer is not None
        for _ in range(answer.end()):
            events.append((MESSAGE, key, None))
        code, message, text, usage = answer.ending()
        self.key, self._answer = None, None
        if usage is None:
            events.append((DONE, key, code, message, text))
        else:
            events.append((DONE, key, code, message, text, usage))

    def _fail(self, events: list[Event], code: int, text: str) -> None:
        if self.key is not None:
            events.append((DONE, self.key, code, None, text))
            self.key, self._answer = None, None
