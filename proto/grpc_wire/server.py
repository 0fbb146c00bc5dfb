"""The server half: requests in, answers out. A unary call is one tuple in and six frames' bytes
out by way of ``respond``.

Refuses to know services: a path is bytes, and only the set of streaming paths is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grpc_wire import frames
from grpc_wire.answers import REMEMBERED_SIZES
from grpc_wire.connection import MAX_MESSAGE_BYTES, Connection
from grpc_wire.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    INTERNAL,
    NO_ERROR,
    OK,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RESOURCE_EXHAUSTED,
    STREAM_CLOSED,
    UNIMPLEMENTED,
    ConnectionFault,
    MessageFault,
    grpc_of_http,
)
from grpc_wire.events import (
    CANCELLED,
    CLOSED,
    HALF_CLOSED,
    MESSAGE,
    OPENED,
    REQUEST,
    ServerEvent,
)
from grpc_wire.flow import LARGE_PIECE_BYTES, Piece, pieces_of
from grpc_wire.headers import (
    TABLE_SIZE_ZERO,
    RequestHead,
    encode_block,
    status_fields,
)
from grpc_wire.messages import Deframer
from grpc_wire.requests import RequestReader, RequestShapes

__all__ = [
    "CANCELLED",
    "CLOSED",
    "HALF_CLOSED",
    "MESSAGE",
    "OPENED",
    "REQUEST",
    "ServerConnection",
]

MAX_CONCURRENT_STREAMS = 1 << 16
MAX_REQUEST_HEADER_BYTES = 16 << 10
# Whole tensors in one frame: fewer pieces on both sides.
MAX_FRAME_BYTES = 1 << 20
# Messages that are not whole yet, over all streams of a connection.
MAX_HELD_BYTES = 1 << 30
# Streams that a client may reset beyond those answered: deadlines passing in a stall are
# honest, opening and resetting without end is the rapid reset attack (CVE-2023-44487).
MAX_RESETS = 20_000

_HEAD_FIELDS = [(":status", "200"), ("content-type", "application/grpc")]
_HEAD = encode_block(_HEAD_FIELDS)
_TAIL = encode_block(status_fields(0, ""))
_HEAD_START = frames.frame_start(len(_HEAD), frames.HEADERS, frames.END_HEADERS)
_TAIL_START = frames.frame_start(len(_TAIL), frames.HEADERS, frames.END_HEADERS | frames.END_STREAM)
# The same for every connection, so kept for all of them: DATA's length -> bytes before it.
_MIDDLES: dict[int, bytes] = {}
_DRAIN_PING = b"draining"
_ACCEPTS = [("grpc-accept-encoding", "identity")]


class _Stream:
    """A stream with more to remember than that its unary request was delivered."""

    __slots__ = (
        "block",
        "deframer",
        "delivered",
        "ended",
        "half_closed",
        "head",
        "held",
        "message",
        "received",
        "size",
        "started",
        "streaming",
    )

    def __init__(self, head: RequestHead, block: bytes, streaming: bool, limit: int) -> None:
        self.head = head
        self.block = block  # empty: must not be learned
        self.streaming = streaming
        self.deframer = Deframer(limit, UNIMPLEMENTED)
        self.message: bytes | None = None
        self.size = 0  # of the one DATA frame of a usual request; -1: there were more
        self.held = 0  # bytes of messages not delivered
        self.received = 0  # DATA not yet given back to the stream's window
        self.half_closed = False  # the client has ended its side
        self.delivered = streaming  # the application knows this stream
        self.started = False  # our HEADERS have gone
        self.ended = False  # our END_STREAM is queued


_NO_HEAD = RequestHead(b"", {})


class ServerConnection(Connection[ServerEvent]):
    """One connection from a client; bytes in, events out, bytes out."""

    __slots__ = (
        "_drain",
        "_held_total",
        "_last_id",
        "_max_held_bytes",
        "_max_resets",
        "_max_streams",
        "_open",
        "_reader",
        "_resets",
        "_shapes",
        "_streaming_paths",
    )

    def __init__(
        self,
        *,
        streaming_paths: Iterable[bytes] = (),
        max_concurrent_streams: int = MAX_CONCURRENT_STREAMS,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_header_bytes: int = MAX_REQUEST_HEADER_BYTES,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_held_bytes: int = MAX_HELD_BYTES,
        max_resets: int = MAX_RESETS,
    ) -> None:
        super().__init__(max_message_bytes, max_header_bytes, max_frame_bytes)
        self._streaming_paths = frozenset(streaming_paths)
        self._max_streams = max_concurrent_streams
        self._max_held_bytes = max_held_bytes
        self._max_resets = max_resets
        self._open: dict[int, _Stream | None] = {}  # None: request delivered, nothing answered
        self._last_id = 0
        self._held_total = 0
        self._resets = 0
        self._drain = 0  # 1: GOAWAY announced; 2: the last stream is named
        self._reader = RequestReader(max_header_bytes)
        self._shapes = RequestShapes()

    # ------------------------------------------------------------------ for the shell
    def start(self) -> None:
        """Queue our SETTINGS and a large connection window."""
        self._announce({frames.MAX_CONCURRENT_STREAMS: self._max_streams})

    @property
    def open_count(self) -> int:
        """Streams that are not finished."""
        return len(self._open)

    @property
    def is_drained(self) -> bool:
        """After ``goaway``: every stream is finished and no new one can come."""
        return self._drain == 2 and not self._open

    def respond(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """Answer a unary call: headers, one message, status OK.

        ``parts`` is the message with its five-byte prefix. False: the client has gone or gave
        the call up, and the answer is dropped.
        """
        if self._open.get(stream_id, self) is not None:
            return self._respond_slowly(stream_id, parts)
        is_bytes = parts.__class__ is bytes
        size = len(parts) if is_bytes else sum(map(len, pieces_of(parts)))
        send = self._send
        if size > self._single_max or size > send.window or stream_id in send.offsets:
            return self._respond_slowly(stream_id, parts)
        del self._open[stream_id]
        send.window -= size
        word = stream_id.to_bytes(4, "big")
        middle = _MIDDLES.get(size) or _middle(size)
        if is_bytes:
            self._out += (_HEAD_START, word, middle, word, parts, _TAIL_START, word, _TAIL)  # type: ignore[arg-type]  # is_bytes
        else:
            pieces = pieces_of(parts)
            self._out += (_HEAD_START, word, middle, word, *pieces, _TAIL_START, word, _TAIL)
        if size >= LARGE_PIECE_BYTES:
            self._is_mixed = True
        return True

    def send_message(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """Send one message (with its prefix) of an answer that ``finish`` will end."""
        stream = self._answering(stream_id)
        if stream is None or stream.ended:
            return False
        self._start_answer(stream_id, stream)
        self._send.push(stream_id, pieces_of(parts), b"")
        self._pump([])
        return True

    def finish(self, stream_id: int, code: int = 0, text: str = "") -> bool:
        """End a call with a gRPC status; without a message before it the answer is trailers only."""
        stream = self._answering(stream_id)
        if stream is None or stream.ended:
            return False
        self._end_answer(stream_id, stream, status_fields(code, text))
        self._pump([])
        return True

    def goaway(self) -> None:
        """Begin a graceful end: streams on their way are still taken, then no more.

        GOAWAY with the largest id first; the last id once a PING proves that the client has
        seen it (RFC 9113 6.8), so that no call in flight is refused.
        """
        if not self._drain and not self._closed_reason:
            self._drain = 1
            self._out.append(frames.goaway_frame(frames.LARGEST_STREAM_ID, NO_ERROR))
            self._out.append(frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    def eof(self) -> list[ServerEvent]:
        """The transport is closed: every call the application knows is cancelled."""
        events: list[ServerEvent] = []
        self._close("connection closed by the peer", events)
        return events

    # ------------------------------------------------------------------ answers out
    def _answering(self, stream_id: int) -> _Stream | None:
        """Return a stream with room to remember its answer; None: gone."""
        stream = self._open.get(stream_id)
        if stream is None and stream_id in self._open:
            stream = _Stream(_NO_HEAD, b"", False, 0)
            stream.half_closed = stream.delivered = True
            self._open[stream_id] = stream
        return stream

    def _respond_slowly(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        stream = self._answering(stream_id)
        if stream is None or stream.ended:
            return False
        self._start_answer(stream_id, stream)
        self._send.push(stream_id, pieces_of(parts), b"")
        self._end_answer(stream_id, stream, status_fields(OK, ""))
        self._pump([])
        return True

    def _start_answer(self, stream_id: int, stream: _Stream) -> None:
        if not stream.started:
            stream.started = True
            self._out.append(self._headers_frame(stream_id, _HEAD, 0))

    def _end_answer(
        self, stream_id: int, stream: _Stream, fields: list[tuple[str, str]], status: int = 200
    ) -> None:
        """Queue the trailers behind the data; a client still sending is told to stop."""
        stream.ended = True
        if not stream.started:
            fields = [(":status", str(status)), *_HEAD_FIELDS[1:], *fields]
        tail = self._headers_frame(stream_id, encode_block(fields), frames.END_STREAM)
        if not stream.half_closed:
            tail += frames.rst_stream_frame(stream_id, NO_ERROR)
        self._send.push(stream_id, (), tail)

    def _headers_frame(self, stream_id: int, block: bytes, flags: int) -> bytes:
        if not self._single_max:
            self._allow_single()
            block = TABLE_SIZE_ZERO + block
        return frames.frame(frames.HEADERS, frames.END_HEADERS | flags, stream_id, block)

    # ------------------------------------------------------------------ requests in
    def _greet(self, data: bytes) -> int:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            text = f"the client does not speak HTTP/2: its first bytes are {data[:16]!r}"
            raise ConnectionFault(PROTOCOL_ERROR, text)
        if len(data) < len(frames.PREFACE):
            return 0
        self._is_greeted = True
        return len(frames.PREFACE)

    def _take_usual(self, data: bytes, pos: int, end: int, events: list[ServerEvent]) -> int:
        shapes = self._shapes
        by_size = shapes.by_size
        if not by_size:
            return pos
        mark, head_start = shapes.mark, shapes.start
        path, metadata = shapes.path, shapes.metadata
        opened = self._open
        last = self._last_id
        room = self._max_streams - len(opened)
        consumed = 0
        while room > 0:
            shape = by_size.get(data[pos + mark : pos + mark + 3])
            if shape is None or pos + shape[1] > end:
                break
            unpack, total, middle, prefix, charge = shape
            first, one, block, two, start, message = unpack(data, pos)
            if first != head_start or block != middle or start != prefix or one != two:
                break
            if one <= last or not one & 1 or one > frames.LARGEST_STREAM_ID:
                break
            last = one
            opened[one] = None
            events.append((REQUEST, one, path, message, metadata))
            pos += total
            consumed += charge
            room -= 1
        if consumed:
            self._last_id = last
            self._count_inbound(consumed)
        return pos

    def _on_block(
        self, stream_id: int, end_stream: bool, block: bytes, events: list[ServerEvent]
    ) -> None:
        if not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"client stream {stream_id} is even")
        head, is_lasting = self._reader.read(block)  # always: it keeps the header table
        if not is_lasting:
            self._shapes.forget()
        if stream_id > self._last_id:
            self._last_id = stream_id
            self._on_head(stream_id, end_stream, block if is_lasting else b"", head, events)
        elif stream_id in self._open:
            stream = self._open[stream_id]
            if stream is None or stream.half_closed or not end_stream:
                self._drop(stream_id, STREAM_CLOSED, events)
            else:
                self._half_close(stream_id, stream, events)

    def _on_head(
        self,
        stream_id: int,
        end_stream: bool,
        block: bytes,
        head: RequestHead,
        events: list[ServerEvent],
    ) -> None:
        """Open a stream, or refuse it."""
        if self._drain == 2 or len(self._open) >= self._max_streams:
            self._reset(stream_id, REFUSED_STREAM)
            return
        if head.fault:
            self._reset(stream_id, PROTOCOL_ERROR)
            return
        streaming = head.path in self._streaming_paths
        stream = _Stream(head, block, streaming, self._max_message_bytes)
        self._open[stream_id] = stream
        if head.refused:
            stream.half_closed = end_stream
            stream.delivered = False
            fields = status_fields(grpc_of_http(head.refused), head.text)
            self._end_answer(stream_id, stream, fields, head.refused)
            self._pump([])
            return
        if streaming:
            events.append((OPENED, stream_id, head.path, head.metadata))
        if end_stream:
            self._half_close(stream_id, stream, events)

    def _on_data(
        self,
        stream_id: int,
        flags: int,
        size: int,
        data: bytes,
        start: int,
        stop: int,
        events: list[ServerEvent],
    ) -> None:
        stream = self._open.get(stream_id)
        if stream is None or stream.half_closed:
            if stream_id in self._open:
                self._drop(stream_id, STREAM_CLOSED, events)
            elif stream_id > self._last_id or not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, f"DATA on idle stream {stream_id}")
            return
        stream.size = -1 if stream.size or size != stop - start else size
        try:
            self._take_messages(stream_id, stream, stream.deframer.feed(data, start, stop), events)
        except MessageFault as fault:
            self._reject(stream_id, stream, fault.code, fault.text, events)
            return
        if flags & frames.END_STREAM:
            self._half_close(stream_id, stream, events)
            return
        stream.size = -1  # END_STREAM comes in a frame of its own
        stream.received += size
        if stream.received * 2 > self._stream_window:
            self._out.append(frames.window_update_frame(stream_id, stream.received))
            stream.received = 0

    def _take_messages(
        self, stream_id: int, stream: _Stream, messages: list[bytes], events: list[ServerEvent]
    ) -> None:
        """Deliver or keep what became whole; raises MessageFault past a limit."""
        for message in messages:
            if stream.streaming:
                events.append((MESSAGE, stream_id, message))
            elif stream.message is None:
                stream.message = message
            else:
                raise MessageFault(INTERNAL, "more than one message in a unary request")
        held = stream.deframer.held_bytes + len(stream.message or b"")
        self._held_total += held - stream.held
        stream.held = held
        if self._held_total > self._max_held_bytes:
            text = f"unfinished messages of this connection hold over {self._max_held_bytes} bytes"
            raise MessageFault(RESOURCE_EXHAUSTED, text)

    def _half_close(self, stream_id: int, stream: _Stream, events: list[ServerEvent]) -> None:
        """The client has ended its side: a unary request is whole now, or never."""
        stream.half_closed = True
        if stream.deframer.held_bytes:
            self._reject(stream_id, stream, INTERNAL, "the request ends within a message", events)
        elif stream.ended:
            return
        elif stream.streaming:
            events.append((HALF_CLOSED, stream_id))
        elif stream.message is None:
            self._reject(stream_id, stream, INTERNAL, "request without a message", events)
        else:
            head = stream.head
            self._held_total -= stream.held
            self._open[stream_id] = None
            events.append((REQUEST, stream_id, head.path, stream.message, head.metadata))
            if stream.block and stream.size > 0:
                self._shapes.learn(stream.block, head, stream.size)

    # ------------------------------------------------------------------ ends
    def _reject(
        self,
        stream_id: int,
        stream: _Stream,
        code: int,
        text: str,
        events: list[ServerEvent],
    ) -> None:
        """End a call whose request cannot be read."""
        if stream.delivered:
            events.append((CANCELLED, stream_id))
        if stream.ended:
            self._forget(stream_id)
            self._reset(stream_id, PROTOCOL_ERROR)
            return
        fields = status_fields(code, text)
        if code == UNIMPLEMENTED:
            fields += _ACCEPTS
        self._end_answer(stream_id, stream, fields)
        self._pump(events)

    def _drop(self, stream_id: int, code: int, events: list[ServerEvent]) -> None:
        """Reset a stream whose client broke the rules."""
        if self._forget(stream_id):
            events.append((CANCELLED, stream_id))
        self._reset(stream_id, code)

    def _forget(self, stream_id: int) -> bool:
        """Take a stream out; True if the application knows it and has not ended it."""
        stream = self._open.pop(stream_id)
        self._send.drop(stream_id)
        if stream is None:
            return True
        self._held_total -= stream.held
        return stream.delivered and not stream.ended

    def _on_reset(self, stream_id: int, code: int, events: list[ServerEvent]) -> None:
        if stream_id > self._last_id or not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        if stream_id not in self._open:
            return
        if self._forget(stream_id):
            events.append((CANCELLED, stream_id))
        self._resets += 1
        answered = (self._last_id + 1) // 2 - len(self._open) - self._resets
        if self._resets > self._max_resets + answered:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"{self._resets} streams reset")

    def _on_goaway(
        self, last_stream_id: int, code: int, text: str, events: list[ServerEvent]
    ) -> None:
        """The client will open no more streams; those open are answered."""

    def _on_closed(self, reason: str, events: list[ServerEvent]) -> None:
        for stream_id in list(self._open):
            if self._forget(stream_id):
                events.append((CANCELLED, stream_id))
        events.append((CLOSED, reason))

    # ------------------------------------------------------------------ settings and windows
    def _on_peer_settings(self, settings: dict[int, int]) -> None:
        pass

    def _on_settings_acknowledged(self) -> None:
        self._reader.forbid_table()

    def _on_pong(self, payload: bytes, events: list[ServerEvent]) -> None:
        if self._drain == 1 and payload == _DRAIN_PING:
            self._drain = 2
            self._shapes.forget()
            self._max_streams = 0
            self._out.append(frames.goaway_frame(self._last_id, NO_ERROR))

    def _on_stream_window(self, stream_id: int, increment: int, events: list[ServerEvent]) -> None:
        if stream_id in self._open:
            if not self._send.grow_stream(stream_id, increment):
                self._drop(stream_id, FLOW_CONTROL_ERROR, events)
        elif stream_id > self._last_id or not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")

    def _on_sent(self, stream_id: int, events: list[ServerEvent]) -> None:
        stream = self._open.get(stream_id)
        if stream is not None and stream.ended:
            self._forget(stream_id)

    def _last_peer_stream(self) -> int:
        return self._last_id


def _middle(size: int) -> bytes:
    """Return the bytes between the stream ids of an answer's HEADERS and its DATA."""
    if len(_MIDDLES) >= REMEMBERED_SIZES:
        _MIDDLES.clear()
    middle = _MIDDLES[size] = _HEAD + frames.frame_start(size, frames.DATA, 0)
    return middle
