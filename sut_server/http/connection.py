"""An asyncio.Protocol around an HTTP/1.1 parser: whole requests in, answers or chunks out.

Owns no decision about answers. One request at a time: what a caller sends ahead waits.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools
from grpc_wire.compression import Deflater

from sut_server.connection_limits import ConnectionLimits, ConnectionWatch, acknowledged_bytes
from sut_server.memory_budget import MemoryBudget

BODY_BYTES_MAX: Final = 64 << 20
JSON_BYTES_MAX: Final = 8 << 20
"""Beyond it reading a request as JSON would hold up everybody for a second."""

_PIPELINED_MAX: Final = 64
"""Requests that one read may bring behind the one that is answered; no more are read meanwhile."""

HEAD_BYTES_MAX: Final = 64 << 10
"""The parser itself would take headers, and trailers behind chunks, without end."""

UNREAD_BYTES_MAX: Final = 64 << 20
"""Answers that a caller has not read; past it nobody will."""

LINGER_S: Final = 2.0
"""How long a refused caller may still send: a connection closed on unread bytes is reset, and the
reset destroys the refusal on its way."""

_JSON: Final = "application/json"
_GZIP: Final = "Content-Encoding: gzip\r\n"
_CHUNKED: Final = "Transfer-Encoding: chunked\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class HttpRequest:
    """A whole request; header names in lower case, the path without scheme and authority."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    received_ns: int
    is_http_1_0: bool = False
    """Its caller reads no chunks."""
    keeps_alive: bool = True
    """Its caller may send another request on the connection."""


class HttpCall:
    """The answer to one request: ``respond`` once, or ``begin``, ``send`` ... and ``end``.

    ``deflater``, where one is set before, makes the body gzip.
    """

    __slots__ = ("_connection", "_in_chunks", "_request", "alive", "deflater", "on_gone")

    def __init__(self, connection: HttpConnection, request: HttpRequest) -> None:
        self._connection = connection
        self._request = request
        self._in_chunks = False
        self.alive = True
        self.deflater: Deflater | None = None
        self.on_gone: Callable[[], None] | None = None

    def respond(self, status: int, content_type: str, body: bytes, headers: str = "") -> None:
        """A whole answer. ``headers``: further lines, each with its CRLF."""
        if self.alive:
            if self.deflater is not None:
                body = self.deflater.piece(body) + self.deflater.last()
                headers += _GZIP
            head = self._head(status, content_type, f"{headers}Content-Length: {len(body)}\r\n")
            self._connection.write(head if self._request.method == "HEAD" else head + body)
            self.end()

    def begin(self, content_type: str) -> None:
        """The head of an answer in chunks; to HTTP/1.0 its end is that of the connection."""
        if self.alive:
            coded = _GZIP if self.deflater is not None else ""
            self._in_chunks = not self._request.is_http_1_0
            if not self._in_chunks:
                self._request.keeps_alive = False
            coded += _CHUNKED if self._in_chunks else ""
            self._connection.write(self._head(200, content_type, coded))

    def send(self, data: bytes) -> None:
        """One piece of an answer that has begun."""
        if self.alive:
            if self.deflater is not None:
                data = self.deflater.piece(data)
            self._write_piece(data)

    def end(self) -> None:
        """The answer is whole."""
        if self.alive:
            self.alive = False
            self.on_gone = None  # who holds the request, which must not wait for the collector
            if self._in_chunks:
                if self.deflater is not None:
                    self._write_piece(self.deflater.last())
                self._connection.write(_LAST_CHUNK)
            self._connection.finish(self._request.keeps_alive)

    def gone(self) -> None:
        """The caller's connection has closed."""
        if self.alive:
            self.alive = False
            on_gone, self.on_gone = self.on_gone, None
            if on_gone is not None:
                on_gone()

    def _write_piece(self, data: bytes) -> None:
        if self._in_chunks:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._connection.write(data)

    def _head(self, status: int, content_type: str, headers: str) -> bytes:
        request = self._request
        request.keeps_alive &= not self._connection.is_closing
        if not request.keeps_alive:
            headers += "Connection: close\r\n"
        elif request.is_http_1_0:
            headers += "Connection: keep-alive\r\n"
        return _head(status, content_type, headers)


def _head(status: int, content_type: str, headers: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n{headers}\r\n"
    return head.encode("latin-1", errors="replace")


def error_object(status: int, text: str) -> bytes:
    """A refusal as OpenAI's clients read it."""
    return json.dumps({"error": {"message": text, "code": status}}).encode()


@dataclass(slots=True)
class HttpShared:
    """What all connections of a listener share."""

    handle: Callable[[HttpCall, HttpRequest], None]
    clock_ns: Callable[[], int]
    make_call: Callable[[HttpConnection, HttpRequest], HttpCall] = HttpCall
    error_body: Callable[[int, str], bytes] = error_object
    """The body of a refusal, in the shape that the listener's clients read."""
    open: set[HttpConnection] = field(default_factory=set)
    connection_watch: ConnectionWatch = field(
        default_factory=lambda: ConnectionWatch(ConnectionLimits())
    )
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    """Of the bodies that are not answered yet, whole or not."""
    linger: Callable[[Callable[[], None]], object] = lambda close: close()
    """Calls it once a refused caller has had time to read its refusal (``LINGER_S``)."""


class HttpConnection(asyncio.Protocol):
    """One caller's connection."""

    def __init__(self, shared: HttpShared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._call: HttpCall | None = None
        self._call_bytes = 0
        """Of the body that the open call answers."""
        self._waiting: deque[HttpRequest] = deque()
        self._refusal: tuple[int, str] | None = None
        """What ends the connection once the requests before it are answered."""
        self._is_deaf = False
        """Nothing more is read: the last request has come, or one that cannot be read."""
        self.is_closing = False
        self._now_ns = 0
        self._is_paused = self._is_held = False
        self._is_reading = self._in_head = False
        self._is_continue_due = False
        self.received_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_bytes = 0
        """Bytes that came since the request began or its body last grew."""

    # ------------------------------------------------------------ for the watch
    @property
    def is_unfinished(self) -> bool:
        """A request has begun and is not whole; a caller that has sent nothing has begun one."""
        if self._is_held or self._is_deaf:
            return False
        return self._is_reading or not self.received_bytes

    @property
    def is_stalled(self) -> bool:
        """The caller does not read."""
        return self._is_paused

    @property
    def is_busy(self) -> bool:
        """A request waits for its answer."""
        return self._call is not None

    def acknowledged_bytes(self) -> int:
        """Bytes of answers that have reached the caller's host."""
        return acknowledged_bytes(self._transport)

    def abort(self) -> None:
        """End it without waiting for anything to be written."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------ asyncio.Protocol
    def pause_writing(self) -> None:
        """The caller does not read its answer: take no more requests from it meanwhile."""
        self._is_paused = True
        self._hold()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_paused = False
        self._hold()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._shared.open.add(self)
        if not self._shared.connection_watch.admit(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._now_ns = self._shared.clock_ns()
        self.received_bytes += len(data)
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = self.is_closing = True  # the request was answered as HTTP/1.1
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not an HTTP/1.1 request: {error}")
        if self._is_reading and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431, f"headers and trailers over {HEAD_BYTES_MAX} bytes are not taken")
        if len(self._waiting) > _PIPELINED_MAX:
            self._refuse(503, f"over {_PIPELINED_MAX} requests wait on this connection")
        self._hold()

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.open.discard(self)
        self._shared.connection_watch.forget(self)
        self._transport = None
        self._is_deaf = True
        waiting = sum(len(request.body) for request in self._waiting)
        self._shared.budget.release(self._call_bytes + waiting + len(self._body))
        self._call_bytes = 0
        self._waiting.clear()
        self._reset()
        call, self._call = self._call, None
        if call is not None:
            call.gone()

    # ------------------------------------------------------------ the parser's callbacks
    def on_message_begin(self) -> None:
        self._is_reading = self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # not a trailer
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            before = self._headers.get(key)
            self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        self._in_head = False
        length = self._headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > BODY_BYTES_MAX:
            self._refuse_size()
        elif self._headers.get("expect", "").lower() == "100-continue":
            self._is_continue_due = True
            self._continue()

    def on_body(self, body: bytes) -> None:
        if self._is_deaf:
            return
        self._is_continue_due = False
        self._head_bytes = 0
        if len(self._body) + len(body) > BODY_BYTES_MAX:
            self._refuse_size()
        elif self._shared.budget.take(len(body)):
            self._body += body
        else:
            self._refuse(503, self._shared.budget.refusal)

    def on_message_complete(self) -> None:
        if self._is_deaf:
            return
        self._is_reading = self._is_continue_due = False
        parser: Any = self._parser
        target = self._url.decode("latin-1")
        try:
            path = _origin_form(target)
        except ValueError:
            self._refuse(400, f"the target {target!r} is neither a path nor an HTTP URL")
            return
        request = HttpRequest(
            parser.get_method().decode(),
            path,
            self._headers,
            bytes(self._body),
            self._now_ns,
            is_http_1_0=parser.get_http_version() == "1.0",
            keeps_alive=bool(parser.should_keep_alive()) and not parser.should_upgrade(),
        )
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

    def finish(self, keeps_alive: bool) -> None:
        """The open answer is whole: take the next request, or close as the caller asked."""
        self._call = None
        self._shared.budget.release(self._call_bytes)
        self._call_bytes = 0
        if not keeps_alive or self.is_closing:
            self._is_deaf = True
            self.close()
        elif self._refusal is not None and not self._waiting:
            self._end_refused()
        elif self._waiting:
            self._next()
        else:
            self._continue()
        self._hold()

    def drain(self) -> None:
        """Close once the open call is answered."""
        self.is_closing = True
        if self._call is None and self._refusal is None:
            self.close()

    def close(self) -> None:
        """Write what is ready and close."""
        self.is_closing = True
        if self._transport is not None:
            self._transport.close()

    # ------------------------------------------------------------ ours
    def _next(self) -> None:
        request = self._waiting.popleft()
        self._call_bytes = len(request.body)
        call = self._call = self._shared.make_call(self, request)
        self._shared.handle(call, request)

    def _hold(self) -> None:
        """Read nothing while answers are not read, or while a request waits behind another."""
        transport, is_held = self._transport, self._is_paused or bool(self._waiting)
        if transport is None or transport.is_closing() or is_held == self._is_held:
            return
        self._is_held = is_held
        if is_held:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _continue(self) -> None:
        """Tell a caller that waits to send its body (RFC 9110 10.1.1), once it is its turn."""
        if self._is_continue_due and self._call is None and self._refusal is None:
            self._is_continue_due = False
            self.write(_CONTINUE)

    def _refuse_size(self) -> None:
        self._refuse(413, f"a body over {BODY_BYTES_MAX} bytes is not taken")

    def _refuse(self, status: int, text: str) -> None:
        """Answer what cannot be read, after what came before it, and close."""
        if self._refusal is not None:
            return
        self._refusal = (status, text)
        self._is_deaf = True
        self._shared.budget.release(len(self._body))
        self._body = bytearray()
        if self._call is None and not self._waiting:
            self._end_refused()

    def _end_refused(self) -> None:
        assert self._refusal is not None
        status, text = self._refusal
        body = self._shared.error_body(status, text)
        headers = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        self.write(_head(status, _JSON, headers) + body)
        self.is_closing = True
        if self._transport is not None and not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._shared.linger(self.close)


def _origin_form(target: str) -> str:
    """A request's path; of a URL as proxies send it, too. Raises ValueError for anything else."""
    if target.startswith("/") or target == "*":
        return target
    url = urlsplit(target)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise ValueError(target)
    return (url.path or "/") + (f"?{url.query}" if url.query else "")
