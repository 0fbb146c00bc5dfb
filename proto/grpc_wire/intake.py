"""The receiving side of the server half: requests in, and what becomes of bad ones.

Refuses to know services: a path is bytes, and only the set of streaming paths is told.
"""

from __future__ import annotations

from collections.abc import Container

from grpc_wire import frames
from grpc_wire.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
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
from grpc_wire.header_cache import RequestHead, RequestReader
from grpc_wire.headers import status_fields
from grpc_wire.in_place import RequestsInPlace
from grpc_wire.limits import (
    MAX_CONCURRENT_STREAMS,
    MAX_HELD_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_REQUEST_HEADER_BYTES,
    MAX_RESETS,
    MAX_SERVER_FRAME_BYTES,
    REMEMBERED_BLOCKS,
)
from grpc_wire.server_stream import Request
from grpc_wire.windows import Piece


class RequestIntake(RequestsInPlace):
    """The receiving side of a server's connection. Not a public class."""

    _request = Request
    _accepted = ("grpc-accept-encoding", "identity")
    __slots__ = (
        "_drain",
        "_held_total",
        "_max_held_bytes",
        "_max_resets",
        "_reader",
        "_resets",
        "_streaming_paths",
    )

    def __init__(
        self,
        *,
        streaming_paths: Container[bytes] = (),
        max_concurrent_streams: int = MAX_CONCURRENT_STREAMS,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_header_bytes: int = MAX_REQUEST_HEADER_BYTES,
        max_frame_bytes: int = MAX_SERVER_FRAME_BYTES,
        max_held_bytes: int = MAX_HELD_BYTES,
        max_resets: int = MAX_RESETS,
    ) -> None:
        super().__init__(
            max_message_bytes, max_header_bytes, max_frame_bytes, max_concurrent_streams
        )
        self._streaming_paths = streaming_paths
        self._max_held_bytes = max_held_bytes
        self._max_resets = max_resets
        self._held_total = 0
        self._resets = 0
        self._drain = 0  # 1: GOAWAY announced; 2: the last stream is named
        self._reader = RequestReader(max_header_bytes)

    @property
    def open_count(self) -> int:
        """Streams that are not finished."""
        return len(self._open) + len(self._headed)

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are not whole yet."""
        return self._held_total

    # ------------------------------------------------------------------ requests in
    def _greet(self, data: bytes) -> int:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            text = f"the client does not speak HTTP/2: its first bytes are {data[:16]!r}"
            raise ConnectionFault(PROTOCOL_ERROR, text)
        if len(data) < len(frames.PREFACE):
            return 0
        self._is_greeted = True
        return len(frames.PREFACE)

    def _stream_of(self, stream_id: int) -> Request | None:
        """Return a stream with room to remember its request; None: delivered or gone."""
        head = self._headed.pop(stream_id, None)
        if head is not None:
            self._open[stream_id] = self._request(head, b"", self._max_message_bytes)
        return self._open.get(stream_id)

    def _on_block(
        self, stream_id: int, end_stream: bool, block: bytes, events: list[ServerEvent]
    ) -> None:
        if not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"client stream {stream_id} is even")
        head, is_lasting = self._reader.read(block)  # always: it keeps the header table
        if not is_lasting:
            self._shapes.forget()
            self._plain.clear()
        if stream_id > self._last_id:
            self._last_id = stream_id
            self._on_head(stream_id, end_stream, block if is_lasting else b"", head, events)
        elif stream_id in self._open or stream_id in self._headed:
            stream = self._stream_of(stream_id)
            if stream is None or stream.is_half_closed or not end_stream:
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
        if self._drain == 2 or self.open_count >= self._max_streams:
            self._reset(stream_id, REFUSED_STREAM)
            return
        if head.fault:
            self._reset(stream_id, PROTOCOL_ERROR)
            return
        streaming = head.path in self._streaming_paths
        stream = self._request(head, block, self._max_message_bytes, streaming=streaming)
        self._open[stream_id] = stream
        if head.refused:
            stream.is_half_closed = end_stream
            fields = status_fields(grpc_of_http(head.refused), head.text)
            self._refuse(stream_id, stream, fields, head.refused)
            return
        if block and not streaming:
            if len(self._plain) >= REMEMBERED_BLOCKS:
                self._plain.clear()
            self._plain[block] = head
        if streaming:
            stream.is_known = True
            events.append((OPENED, stream_id, head.path, head.metadata))
        if end_stream:
            self._half_close(stream_id, stream, events)

    def _on_data(
        self,
        stream_id: int,
        flags: int,
        size: int,
        data: Piece,
        start: int,
        stop: int,
        events: list[ServerEvent],
    ) -> None:
        stream = self._stream_of(stream_id)
        if stream is None or stream.is_half_closed:
            if stream_id in self._open:
                self._drop(stream_id, STREAM_CLOSED, events)
            elif stream_id > self._last_id or not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, f"DATA on idle stream {stream_id}")
            return
        if stream.is_ended:  # answered early: what the client still sends is of no use
            return
        try:
            self._take_messages(stream_id, stream, size, data, start, stop, events)
        except MessageFault as fault:
            self._reject(stream_id, stream, fault, events)
            return
        if flags & frames.END_STREAM:
            self._half_close(stream_id, stream, events)
            return
        stream.usual_size = -1  # END_STREAM comes in a frame of its own
        increment = stream.refill(self._stream_window)
        if increment < 0:
            self._drop(stream_id, FLOW_CONTROL_ERROR, events)
        elif increment:
            self.output.append(frames.window_update_frame(stream_id, increment))

    def _take_messages(
        self,
        stream_id: int,
        stream: Request,
        size: int,
        data: Piece,
        start: int,
        stop: int,
        events: list[ServerEvent],
    ) -> None:
        """Deliver or keep what became whole; raises MessageFault past a limit."""
        held = stream.held_bytes
        try:
            messages = stream.take_data(size, data, start, stop)
        finally:
            self._held_total += stream.held_bytes - held
        events.extend((MESSAGE, stream_id, message) for message in messages)
        if self._held_total > self._max_held_bytes:
            text = f"unfinished messages of this connection hold over {self._max_held_bytes} bytes"
            raise MessageFault(RESOURCE_EXHAUSTED, text)

    def _half_close(self, stream_id: int, stream: Request, events: list[ServerEvent]) -> None:
        """The client has ended its side: a unary request is whole now, or never."""
        stream.is_half_closed = True
        if stream.is_ended:
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
        self._open[stream_id] = None
        events.append((REQUEST, stream_id, head.path, stream.message, head.metadata))
        if stream.block and stream.usual_size > 0:
            self._learn(stream.block, stream.usual_size, head)

    # ------------------------------------------------------------------ ends
    def _reject(
        self, stream_id: int, stream: Request, fault: MessageFault, events: list[ServerEvent]
    ) -> None:
        """End a call whose request cannot be read."""
        if stream.is_known:
            events.append((CANCELLED, stream_id))
        fields = status_fields(fault.code, fault.text)
        if fault.code == UNIMPLEMENTED:
            fields.append(self._accepted)
        self._refuse(stream_id, stream, fields, 200)

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
        self._held_total -= stream.held_bytes
        return stream.is_known and not stream.is_ended

    def _on_reset(self, stream_id: int, code: int, events: list[ServerEvent]) -> None:
        if stream_id > self._last_id or not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        if self._stream_of(stream_id) is None and stream_id not in self._open:
            return
        if self._forget(stream_id):
            events.append((CANCELLED, stream_id))
        self._resets += 1
        answered = (self._last_id + 1) // 2 - self.open_count - self._resets
        if self._resets > self._max_resets + answered:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"{self._resets} streams reset")

    def _on_goaway(
        self, last_stream_id: int, code: int, text: str, events: list[ServerEvent]
    ) -> None:
        """The client will open no more streams; those open are answered."""

    def _on_closed(self, reason: str, events: list[ServerEvent]) -> None:
        self._headed.clear()
        for stream_id in list(self._open):
            if self._forget(stream_id):
                events.append((CANCELLED, stream_id))
        events.append((CLOSED, reason))

    # ------------------------------------------------------------------ settings and windows
    def _on_settings_acknowledged(self) -> None:
        self._reader.forbid_table()

    def _on_stream_window(self, stream_id: int, increment: int, events: list[ServerEvent]) -> None:
        if stream_id in self._open or stream_id in self._headed:
            if not self._send.grow_stream(stream_id, increment):
                self._stream_of(stream_id)
                self._drop(stream_id, FLOW_CONTROL_ERROR, events)
        elif stream_id > self._last_id or not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")

    def _last_peer_stream(self) -> int:
        return self._last_id

    # ------------------------------------------------------------------ what the server decides
    def _refuse(
        self, stream_id: int, stream: Request, fields: list[tuple[str, str]], status: int
    ) -> None:
        """Answer with trailers only and these fields, behind what the stream has queued."""
        raise NotImplementedError
