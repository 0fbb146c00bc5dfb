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
CODE_RESOURCE_EXHAUSTED: Final = 8

BODY_BYTES_MAX: Final = 1 << 28
"""An answer's body; a longer one fails its call. A batch of images as float tensors fits."""

HEAD_BYTES_MAX: Final = 64 << 10
"""An answer's head, its trailers, and what comes between two pieces of its body, each."""

INTERIM_MAX: Final = 16
"""Answers with a status below 200 before the one that counts."""


class Answer(Protocol):
    """Reads one answer. ``feed`` and ``end`` give a byte for each piece of output: its choice."""

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None: ...
    def feed(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...
    def ending(self) -> tuple[int, bytes | None, str, Usage | None]: ...


class AnswerTooLarge(Exception):
    """An answer passed a bound; the text names it."""


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
        self._body_bytes = 0
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._interim_count = 0
        self._fault = ""

    # ------------------------------------------------------------ issuing
    def send(self, key: int, request: bytes, answer: Answer) -> None:
        """Write a whole request; the link is busy until its answer is whole."""
        self.key = key
        self.call_count += 1
        self._answer = answer
        self._has_head = False
        self._body_bytes = self._head_bytes = self._quiet_bytes = self._interim_count = 0
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
        if self.key is None:
            # Nothing was asked: whatever it is would be taken for the answer to the next call.
            self.close()
            return
        self._quiet_bytes += len(data)
        code, fault = self._parse(data)
        events = self._events
        if events:
            self._events = []
        if fault:
            self._fail(events, code, fault)
            self.close()
        if events:
            self._owner.on_events(now_ns, events)
        if self.is_open and self.key is None:
            self.idle_since_ns = now_ns
            self._owner.on_free(self, now_ns)

    def _parse(self, data: bytes) -> tuple[int, str]:
        """Read what came; the code and the text of what is wrong with it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return CODE_INTERNAL, "the server wants to leave HTTP/1.1 (it answers with an upgrade)"
        except httptools.HttpParserError as error:
            if self._fault:
                return CODE_RESOURCE_EXHAUSTED, self._fault
            return CODE_INTERNAL, f"not HTTP/1.1: {error}"
        if self.key is not None and self._quiet_bytes > max(HEAD_BYTES_MAX, 2 * len(data)):
            where = "a trailer or a chunk's head" if self._has_head else "a head"
            return CODE_RESOURCE_EXHAUSTED, f"{where} of the answer is over {HEAD_BYTES_MAX} bytes"
        return 0, ""

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
        if self.key is None:
            self.close()  # a second answer behind the one that was asked for
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._quiet_bytes = 0
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._give_up(f"the answer's header fields are over {HEAD_BYTES_MAX} bytes")
        if not self._has_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        parser: Any = self._parser
        self._has_head = parser.get_status_code() >= 200
        self._head_bytes = self._quiet_bytes = 0
        if self._answer is not None and self._has_head:
            self._answer.begin(parser.get_status_code(), self._headers)

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None:
            self._quiet_bytes = 0
            self._body_bytes += len(data)
            if self._body_bytes > BODY_BYTES_MAX:
                self._give_up(f"the answer's body is over {BODY_BYTES_MAX >> 20} MiB")
            self._note_pieces(self._events, answer.feed(data))

    def on_message_complete(self) -> None:
        parser: Any = self._parser
        if parser.get_status_code() < 200:
            # 100 Continue and its like: the answer is still to come
            self._interim_count += 1
            if self._interim_count > INTERIM_MAX:
                self._give_up(f"over {INTERIM_MAX} interim answers before the answer")
            return
        if self.key is not None:
            self._settle(self._events)
        if not parser.should_keep_alive():
            self.close()

    def _give_up(self, fault: str) -> None:
        """Stop the parser, from within one of its callbacks."""
        self._fault = fault
        raise AnswerTooLarge(fault)

    def _note_pieces(self, events: list[Event], choices: bytes) -> None:
        for choice in choices:
            piece: Event = (MESSAGE, self.key, None)
            events.append((*piece, choice) if choice else piece)

    def _settle(self, events: list[Event]) -> None:
        """The answer is whole."""
        key, answer = self.key, self._answer
        assert answer is not None
        self._note_pieces(events, answer.end())
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
