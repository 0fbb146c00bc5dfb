"""An asyncio.Protocol around an HTTP/1.1 parser: whole requests in, answers or chunks out.

Owns no decision about answers. One request at a time: what a caller sends ahead waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
from grpc_wire.compression import Deflater

from sut_server.connection_limits import ConnectionLimits, ConnectionWatch

BODY_BYTES_MAX: Final = 64 << 20
_PIPELINED_MAX: Final = 16
HEAD_BYTES_MAX: Final = 64 << 10
"""The parser itself would take headers without end."""

UNREAD_BYTES_MAX: Final = 64 << 20
"""Answers that a caller has not read; past it nobody will."""

_GZIP: Final = "Content-Encoding: gzip\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


@dataclass(slots=True)
class HttpRequest:
    """A whole request; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    received_ns: int


class HttpCall:
    """The answer to one request: ``respond`` once, or ``begin``, ``send`` ... and ``end``.

    ``deflater``, where one is set before, makes the body gzip.
    """

    __slots__ = ("_connection", "alive", "deflater", "on_gone")

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self.alive = True
        self.deflater: Deflater | None = None
        self.on_gone: Callable[[], None] | None = None

    def respond(self, status: int, content_type: str, body: bytes, headers: str = "") -> None:
        """A whole answer. ``headers``: further lines, each with its CRLF."""
        if self.alive:
            if self.deflater is not None:
                body = self.deflater.piece(body) + self.deflater.last()
                headers += _GZIP
            head = _head(status, content_type) + headers.encode()
            length = f"Content-Length: {len(body)}\r\n\r\n".encode()
            self._connection.write(head + length + body)
            self.end(chunked=False)

    def begin(self, content_type: str) -> None:
        """The head of an answer in chunks."""
        if self.alive:
            coded = _GZIP.encode() if self.deflater is not None else b""
            self._connection.write(_head(200, content_type) + coded + _CHUNKED)

    def send(self, data: bytes) -> None:
        """One chunk."""
        if self.alive:
            if self.deflater is not None:
                data = self.deflater.piece(data)
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, *, chunked: bool = True) -> None:
        """The answer is whole."""
        if self.alive:
            self.alive = False
            self.on_gone = None  # who holds the request, which must not wait for the collector
            if chunked:
                if self.deflater is not None:
                    last = self.deflater.last()
                    self._connection.write(b"%x\r\n%b\r\n" % (len(last), last))
                self._connection.write(_LAST_CHUNK)
            self._connection.finish()

    def gone(self) -> None:
        """The caller's connection has closed."""
        if self.alive:
            self.alive = False
            on_gone, self.on_gone = self.on_gone, None
            if on_gone is not None:
                on_gone()


def _head(status: int, content_type: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n".encode()


@dataclass(slots=True)
class HttpShared:
    """What all connections of a listener share."""

    handle: Callable[[HttpCall, HttpRequest], None]
    clock_ns: Callable[[], int]
    make_call: Callable[[HttpConnection, HttpRequest], HttpCall] = lambda connection, _: HttpCall(
        connection
    )
    open: set[HttpConnection] = field(default_factory=set)
    connection_watch: ConnectionWatch = field(
        default_factory=lambda: ConnectionWatch(ConnectionLimits())
    )


class HttpConnection(asyncio.Protocol):
    """One caller's connection."""

    def __init__(self, shared: HttpShared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._call: HttpCall | None = None
        self._waiting: deque[HttpRequest] = deque()
        self._closing = False
        self._now_ns = 0
        self._is_paused = False
        self._is_reading = self._in_head = False
        self.received_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0

    @property
    def is_unfinished(self) -> bool:
        """A request has begun and is not whole; a caller that has sent nothing has begun one."""
        return self._is_reading or not self.received_bytes

    @property
    def is_stalled(self) -> bool:
        """The caller does not read."""
        return self._is_paused

    def abort(self) -> None:
        """End it without waiting for anything to be written."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        """The caller does not read its answer: take no more requests from it meanwhile."""
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_paused = False
        if self._transport is not None:
            self._transport.resume_reading()

    @property
    def is_busy(self) -> bool:
        """A request waits for its answer."""
        return self._call is not None

    # ------------------------------------------------------------ asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._shared.open.add(self)
        if not self._shared.connection_watch.admit(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._now_ns = self._shared.clock_ns()
        self.received_bytes += len(data)
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self.close()
        if self._body_bytes > BODY_BYTES_MAX or len(self._waiting) > _PIPELINED_MAX:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.open.discard(self)
        self._shared.connection_watch.forget(self)
        self._transport = None
        call, self._call = self._call, None
        if call is not None:
            call.gone()

    # ------------------------------------------------------------ the parser's callbacks
    def on_message_begin(self) -> None:
        self._is_reading = self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if sum(map(len, self._headers.values())) + len(self._url) > HEAD_BYTES_MAX:
            self.close()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        self._is_reading = False
        parser: Any = self._parser
        request = HttpRequest(
            parser.get_method().decode(),
            self._url.decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._now_ns,
        )
        self._closing |= not parser.should_keep_alive()
        self._reset()
        self._waiting.append(request)
        if self._call is None:
            self._next()

    # ------------------------------------------------------------ for calls
    def write(self, data: bytes) -> None:
        """Send bytes now, if the caller is still there."""
        if self._transport is not None:
            self._transport.write(data)
            if self._is_paused and self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self.abort()

    def finish(self) -> None:
        """The open answer is whole: take the next request, or close as the caller asked."""
        self._call = None
        if self._waiting:
            self._next()
        elif self._closing:
            self.close()

    def close(self) -> None:
        """Write what is ready and close."""
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        request = self._waiting.popleft()
        call = self._call = self._shared.make_call(self, request)
        self._shared.handle(call, request)
