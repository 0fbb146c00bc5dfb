"""The server half: requests in, answers out. A unary call is one tuple in and one ``respond``.

Refuses to know services: a path is bytes, and only the set of streaming paths is told.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

from grpc_wire import errors, frames, limits
from grpc_wire.compression import (
    ACCEPT_ENCODING,
    ACCEPTED,
    ENCODING,
    GZIP,
    IDENTITY,
    accepts_gzip,
    compressed_message,
)
from grpc_wire.connection import Connection, DataFrame
from grpc_wire.errors import ConnectionFault, MessageFault
from grpc_wire.events import (
    CANCELLED,
    CLOSED,
    HALF_CLOSED,
    MESSAGE,
    OPENED,
    REQUEST,
    Metadata,
    ServerEvent,
)
from grpc_wire.header_cache import RequestHead, RequestReader
from grpc_wire.headers import TABLE_SIZE_ZERO, encode_block, status_fields
from grpc_wire.messages import PREFIX_BYTES
from grpc_wire.request_table import RequestTable
from grpc_wire.server_stream import Request
from grpc_wire.windows import Piece, pieces_of

__all__ = [
    "CANCELLED",
    "CLOSED",
    "HALF_CLOSED",
    "MESSAGE",
    "OPENED",
    "REQUEST",
    "ServerConnection",
]

_DRAIN_PING: Final = b"draining"
_NO_HEAD: Final = RequestHead(b"", {})

# The frames of a good unary answer, the same for every call but for the stream id and the message.
_HEAD_FIELDS: Final = [(":status", "200"), ("content-type", "application/grpc")]
_TAIL_FIELDS: Final = status_fields(errors.OK, "")
_HEAD: Final = encode_block(_HEAD_FIELDS)
_GZIP_HEAD: Final = encode_block([*_HEAD_FIELDS, (ENCODING, GZIP)])
_TAIL: Final = encode_block(_TAIL_FIELDS)
_HEAD_START: Final = frames.frame_start(len(_HEAD), frames.HEADERS, frames.END_HEADERS)
_TAIL_START: Final = frames.frame_start(
    len(_TAIL), frames.HEADERS, frames.END_HEADERS | frames.END_STREAM
)
_MIDDLES: Final[dict[int, bytes]] = {}  # bytes between the ids of HEADERS and DATA, by DATA's size


def _middle(size: int) -> bytes:
    if len(_MIDDLES) >= limits.REMEMBERED_SIZES:
        _MIDDLES.clear()
    found = _MIDDLES[size] = _HEAD + frames.frame_start(size, frames.DATA, 0)
    return found


class ServerConnection(Connection[ServerEvent]):
    """One connection from a client; bytes in, events out, bytes out.

    Streams in ``streaming_paths`` are told message by message, all others as one REQUEST.
    ``takes_gzip``: messages may be compressed, and answers are for clients that say they read it.
    """

    def __init__(
        self,
        *,
        streaming_paths: Container[bytes] = (),
        max_concurrent_streams: int = limits.MAX_CONCURRENT_STREAMS,
        max_message_bytes: int = limits.MAX_MESSAGE_BYTES,
        max_header_bytes: int = limits.MAX_REQUEST_HEADER_BYTES,
        max_frame_bytes: int = limits.MAX_SERVER_FRAME_BYTES,
        max_held_bytes: int = limits.MAX_HELD_BYTES,
        max_resets: int = limits.MAX_RESETS,
        takes_gzip: bool = False,
    ) -> None:
        super().__init__(max_message_bytes, max_header_bytes, max_frame_bytes)
        largest = min(max_message_bytes, max_frame_bytes - PREFIX_BYTES)
        self._streams = RequestTable(largest, max_concurrent_streams, max_resets)
        self._opened = self._streams.opened
        self._streaming_paths = streaming_paths
        self._max_held_bytes = max_held_bytes
        self._held_total = 0
        self._drain = 0  # 1: GOAWAY announced; 2: the last stream is named
        self._blocks = RequestReader(max_header_bytes)
        self._takes_gzip = takes_gzip
        self._accepting: set[int] = set()  # streams whose answers are to be gzip

    # ------------------------------------------------------------------ for the shell
    def start(self) -> None:
        """Queue our SETTINGS and a large connection window."""
        self._announce({frames.MAX_CONCURRENT_STREAMS: self._streams.limit})

    @property
    def open_count(self) -> int:
        """Streams that are not finished."""
        return self._streams.open_count

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are not whole yet."""
        return self._held_total

    @property
    def is_drained(self) -> bool:
        """After ``goaway``: every stream is finished and no new one can come."""
        return self._drain == 2 and not self.open_count

    def receive(self, data: bytes) -> list[ServerEvent]:
        """Take bytes from the transport; return what they say; see ``Connection.receive``."""
        events = super().receive(data)
        if self._takes_gzip:
            self._note_accepting(events)
        return events

    def frame_buffer(self, allocate: Callable[[int], memoryview]) -> memoryview | None:
        """Where the missing end of a large DATA frame is to be read to; None: read as always.

        ``allocate`` gives that many writable bytes, of any content. What was read there is told by
        ``frame_filled``, before anything else.
        """
        if not self._reader.held_bytes or not self._is_settled or self._block_stream:
            return None
        return self._reader.region(allocate)

    def frame_filled(self, count: int) -> list[ServerEvent]:
        """``count`` bytes were read into the last ``frame_buffer``; see ``receive``."""
        events: list[ServerEvent] = []
        data = self._reader.fill(count)
        if data is None:
            return events
        _, flags, stream_id = frames.FRAME_HEADER.unpack_from(data)
        stream_id &= frames.LARGEST_STREAM_ID
        try:
            start = frames.FRAME_HEADER_BYTES
            self._on_data_frame(flags, stream_id, data, start, len(data), events)
        except ConnectionFault as fault:
            self._break(fault.code, fault.text, events)
        if self._takes_gzip:
            self._note_accepting(events)
        return events

    def respond(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """Answer a unary call: headers, one message, status OK.

        ``parts`` is the message with its five-byte prefix, in bytes or views of single bytes.
        False: the client has gone or gave the call up, and the answer is dropped.
        """
        opened = self._opened
        if opened.get(stream_id, self) is not None or not isinstance(parts, bytes):
            return self._respond_slowly(stream_id, parts)
        size = len(parts)
        send = self._send
        if size > self._single_max or size > send.window or stream_id in self._accepting:
            return self._respond_slowly(stream_id, parts)
        del opened[stream_id]
        if send.offsets:  # what the client added to its window; nothing has been taken yet
            send.offsets.pop(stream_id, None)
        send.window -= size
        word = stream_id.to_bytes(4, "big")
        middle = _MIDDLES.get(size) or _middle(size)
        if size < limits.LARGE_PIECE_BYTES:
            self.output.append(word.join((_HEAD_START, middle, parts + _TAIL_START, _TAIL)))
        else:
            self.output += (_HEAD_START, word, middle, word, parts, _TAIL_START, word, _TAIL)
            self._is_mixed = True
        return True

    def send_message(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """Send one message (with its prefix) of an answer that ``finish`` will end."""
        stream = self._answering(stream_id)
        if stream is None or stream.is_ended:
            return False
        if stream_id in self._accepting:
            parts = compressed_message(parts)
        self._start_answer(stream_id, stream)
        self._send.push(stream_id, pieces_of(parts), b"")
        self._pump([])
        return True

    def finish(self, stream_id: int, code: int = 0, text: str = "") -> bool:
        """End a call with a gRPC status; with no message before it, by trailers only."""
        stream = self._answering(stream_id)
        if stream is None or stream.is_ended:
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
            self.output.append(frames.goaway_frame(frames.LARGEST_STREAM_ID, errors.NO_ERROR))
            self.output.append(frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    def eof(self) -> list[ServerEvent]:
        """The transport is closed: every call the application knows is cancelled."""
        events: list[ServerEvent] = []
        self._close("connection closed by the peer", events)
        return events

    # ------------------------------------------------------------------ requests in
    def _greet(self, data: bytes) -> int:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            text = f"the client does not speak HTTP/2: its first bytes are {data[:16]!r}"
            raise ConnectionFault(errors.PROTOCOL_ERROR, text)
        if len(data) < len(frames.PREFACE):
            return 0
        self._is_greeted = True
        return len(frames.PREFACE)

    def _take_known(self, data: bytes, pos: int, end: int, events: list[ServerEvent]) -> int:
        pos, data_bytes = self._streams.take_known(data, pos, end, events)
        if data_bytes:
            self._count_inbound(data_bytes)
        return pos

    def _stream_of(self, stream_id: int) -> Request | None:
        """Return a stream with room to remember its request; None: delivered or gone."""
        head = self._streams.headed.pop(stream_id, None)
        if head is not None:
            self._opened[stream_id] = self._request(head)
        return self._opened.get(stream_id)

    def _request(self, head: RequestHead, *, streaming: bool = False) -> Request:
        limit = self._max_message_bytes
        return Request(head, limit, streaming=streaming, takes_gzip=self._takes_gzip)

    def _on_block(
        self, stream_id: int, end_stream: bool, block: bytes, events: list[ServerEvent]
    ) -> None:
        if not stream_id & 1:
            raise ConnectionFault(errors.PROTOCOL_ERROR, f"client stream {stream_id} is even")
        head, is_lasting = self._blocks.read(block)  # always: it keeps the header table
        if not is_lasting:
            self._streams.known.clear()
        if stream_id > self._streams.last_id:
            self._on_head(stream_id, end_stream, block if is_lasting else b"", head, events)
        elif self._streams.is_gone(stream_id):
            self._on_late(stream_id, events)
        else:
            stream = self._stream_of(stream_id)
            if stream is None or stream.is_half_closed:
                self._drop(stream_id, errors.STREAM_CLOSED, events)
            elif not end_stream or head.path:
                self._drop(stream_id, errors.PROTOCOL_ERROR, events)
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
        if not self._streams.begin(stream_id) or self._drain == 2:
            self._reset(stream_id, errors.REFUSED_STREAM)
            self._streams.count_reset()
            return
        if head.fault:
            self._reset(stream_id, errors.PROTOCOL_ERROR)
            self._streams.count_reset()
            return
        streaming = head.path in self._streaming_paths
        stream = self._request(head, streaming=streaming)
        self._opened[stream_id] = stream
        if head.refused:
            stream.is_half_closed = end_stream
            code = errors.grpc_of_http(head.refused) if head.code < 0 else head.code
            self._refuse(stream_id, stream, status_fields(code, head.text), head.refused)
            return
        if block and not streaming and head.content_bytes < 0:
            self._streams.known.add(block, head)
        if streaming:
            stream.is_known = True
            events.append((OPENED, stream_id, head.path, head.metadata))
        if end_stream:
            self._half_close(stream_id, stream, events)

    def _on_data(self, frame: DataFrame, events: list[ServerEvent]) -> None:
        stream_id = frame.stream_id
        stream = self._stream_of(stream_id)
        if stream is None or stream.is_half_closed:
            if stream_id in self._opened:
                self._drop(stream_id, errors.STREAM_CLOSED, events)
            elif not self._streams.is_gone(stream_id):
                raise ConnectionFault(errors.PROTOCOL_ERROR, f"DATA on idle stream {stream_id}")
            else:
                self._on_late(stream_id, events)
            return
        if stream.is_ended:  # answered early: what the client still sends is of no use
            return
        try:
            self._take_messages(stream, frame, events)
        except MessageFault as fault:
            self._reject(stream_id, stream, fault, events)
            return
        if frame.flags & frames.END_STREAM:
            self._half_close(stream_id, stream, events)
            return
        increment = stream.refill(self._stream_window)
        if increment < 0:
            self._drop(stream_id, errors.FLOW_CONTROL_ERROR, events)
        elif increment:
            self.output.append(frames.window_update_frame(stream_id, increment))

    def _on_late(self, stream_id: int, events: list[ServerEvent]) -> None:
        """HEADERS or DATA on a stream that is gone: on its way when we ended it, or a fault."""
        if not self._streams.is_ours(stream_id):
            self._reset(stream_id, errors.STREAM_CLOSED)
            self._streams.note_ours(stream_id)
            self._streams.count_reset()

    def _take_messages(self, stream: Request, frame: DataFrame, events: list[ServerEvent]) -> None:
        """Deliver or keep what became whole; raises MessageFault past a limit."""
        held = stream.held_bytes
        try:
            messages = stream.take_data(frame)
        finally:
            self._held_total += stream.held_bytes - held
        events.extend((MESSAGE, frame.stream_id, message) for message in messages)
        if self._held_total > self._max_held_bytes:
            text = f"unfinished messages of this connection hold over {self._max_held_bytes} bytes"
            raise MessageFault(errors.RESOURCE_EXHAUSTED, text)

    def _half_close(self, stream_id: int, stream: Request, events: list[ServerEvent]) -> None:
        """The client has ended its side: a unary request is whole now, or never."""
        stream.is_half_closed = True
        if stream.is_ended:
            return
        if not stream.has_said_length:
            self._drop(stream_id, errors.PROTOCOL_ERROR, events)
            return
        try:
            stream.check_whole()
        except MessageFault as fault:
            self._reject(stream_id, stream, fault, events)
            return
        if stream.message is None:
            events.append((HALF_CLOSED, stream_id))
            return
        head = stream.head
        self._held_total -= stream.held_bytes
        self._opened[stream_id] = None
        events.append((REQUEST, stream_id, head.path, stream.message, head.metadata))

    # ------------------------------------------------------------------ ends of streams
    def _reject(
        self, stream_id: int, stream: Request, fault: MessageFault, events: list[ServerEvent]
    ) -> None:
        """End a call whose request cannot be read."""
        if stream.is_known:
            events.append((CANCELLED, stream_id))
        fields = status_fields(fault.code, fault.text)
        if fault.code == errors.UNIMPLEMENTED:
            fields.append((ACCEPT_ENCODING, ACCEPTED if self._takes_gzip else IDENTITY))
        self._refuse(stream_id, stream, fields, 200)

    def _drop(self, stream_id: int, code: int, events: list[ServerEvent]) -> None:
        """Reset a stream whose client broke the rules."""
        if self._forget(stream_id):
            events.append((CANCELLED, stream_id))
        self._reset(stream_id, code)
        self._streams.count_reset()

    def _forget(self, stream_id: int) -> bool:
        """Take a stream out; True if the application knows it and has not ended it."""
        stream = self._opened.pop(stream_id)
        self._send.drop(stream_id)
        self._accepting.discard(stream_id)
        if stream is None:
            return True
        self._held_total -= stream.held_bytes
        return stream.is_known and not stream.is_ended

    def _reset(self, stream_id: int, code: int) -> None:
        super()._reset(stream_id, code)
        self._streams.note_ours(stream_id)

    def _on_reset(self, stream_id: int, code: int, events: list[ServerEvent]) -> None:
        if stream_id > self._streams.last_id or not stream_id & 1:
            raise ConnectionFault(errors.PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        if self._stream_of(stream_id) is None and stream_id not in self._opened:
            return
        if self._forget(stream_id):
            events.append((CANCELLED, stream_id))
        self._streams.count_reset()

    def _on_goaway(
        self, last_stream_id: int, code: int, text: str, events: list[ServerEvent]
    ) -> None:
        """The client will open no more streams; those open are answered."""

    def _on_closed(self, reason: str, events: list[ServerEvent]) -> None:
        self._streams.headed.clear()
        for stream_id in list(self._opened):
            if self._forget(stream_id):
                events.append((CANCELLED, stream_id))
        events.append((CLOSED, reason))

    # ------------------------------------------------------------------ answers out
    def _note_accepting(self, events: list[ServerEvent]) -> None:
        """Note which calls are to be answered by gzip."""
        for event in events:
            if event[0] == REQUEST or event[0] == OPENED:
                metadata: Metadata = event[4] if event[0] == REQUEST else event[3]
                if event[1] in self._opened and accepts_gzip(metadata.get(ACCEPT_ENCODING, "")):
                    self._accepting.add(event[1])

    def _answering(self, stream_id: int) -> Request | None:
        """Return a stream with room to remember its answer; None: gone."""
        stream = self._opened.get(stream_id)
        if stream is None and stream_id in self._opened:
            stream = Request(_NO_HEAD, 0)
            stream.is_half_closed = stream.is_known = True
            self._opened[stream_id] = stream
        return stream

    def _respond_slowly(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        stream = self._answering(stream_id)
        if stream is None or stream.is_ended:
            return False
        if stream_id in self._accepting:
            parts = compressed_message(parts)
        self._start_answer(stream_id, stream)
        self._send.push(stream_id, pieces_of(parts), b"")
        self._end_answer(stream_id, stream, _TAIL_FIELDS)
        self._pump([])
        return True

    def _start_answer(self, stream_id: int, stream: Request) -> None:
        if not stream.is_started:
            stream.is_started = True
            head = _GZIP_HEAD if stream_id in self._accepting else _HEAD
            self.output.append(self._headers_frame(stream_id, head, 0))

    def _end_answer(
        self, stream_id: int, stream: Request, fields: list[tuple[str, str]], status: int = 200
    ) -> None:
        """Queue the trailers behind the data; a client still sending is told to stop."""
        stream.is_ended = True
        if not stream.is_started:
            fields = [(":status", str(status)), *_HEAD_FIELDS[1:], *fields]
        block = _TAIL if fields == _TAIL_FIELDS else encode_block(fields)
        tail = self._headers_frame(stream_id, block, frames.END_STREAM)
        if not stream.is_half_closed:
            tail += frames.rst_stream_frame(stream_id, errors.NO_ERROR)
            self._streams.note_ours(stream_id)
        if stream_id in self._send:
            self._send.push(stream_id, (), tail)
        else:
            self.output.append(tail)
            self._forget(stream_id)

    def _headers_frame(self, stream_id: int, block: bytes, flags: int) -> bytes:
        if not self._single_max:
            self._allow_single()
            block = TABLE_SIZE_ZERO + block
        return frames.frame(frames.HEADERS, frames.END_HEADERS | flags, stream_id, block)

    def _refuse(
        self, stream_id: int, stream: Request, fields: list[tuple[str, str]], status: int
    ) -> None:
        """Answer with trailers only and these fields, behind what the stream has queued."""
        self._end_answer(stream_id, stream, fields, status)
        self._pump([])

    def _on_sent(self, stream_id: int, events: list[ServerEvent]) -> None:
        stream = self._opened.get(stream_id)
        if stream is not None and stream.is_ended:
            self._forget(stream_id)

    # ------------------------------------------------------------------ settings, windows, the end
    def _on_settings_acknowledged(self) -> None:
        self._blocks.forbid_table()

    def _on_stream_window(self, stream_id: int, increment: int, events: list[ServerEvent]) -> None:
        if stream_id in self._opened or stream_id in self._streams.headed:
            if not self._send.grow_stream(stream_id, increment):
                self._stream_of(stream_id)
                self._drop(stream_id, errors.FLOW_CONTROL_ERROR, events)
        elif not self._streams.is_gone(stream_id):
            raise ConnectionFault(
                errors.PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}"
            )

    def _last_peer_stream(self) -> int:
        return self._streams.last_id

    def _on_pong(self, payload: bytes, events: list[ServerEvent]) -> None:
        if self._drain == 1 and payload == _DRAIN_PING:
            self._drain = 2
            self._streams.limit = 0
            self.output.append(frames.goaway_frame(self._streams.last_id, errors.NO_ERROR))
