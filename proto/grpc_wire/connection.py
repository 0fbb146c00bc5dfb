"""What both halves of a connection share: cutting frames, SETTINGS, PING, windows, output, ends.

Refuses to know what a call is: a half says what HEADERS, DATA, RST_STREAM and GOAWAY mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from grpc_wire import errors, frames
from grpc_wire.errors import ConnectionFault
from grpc_wire.frame_reader import FrameReader
from grpc_wire.frames import FRAME_HEADER, FRAME_HEADER_BYTES, HEADERS
from grpc_wire.limits import CONNECTION_WINDOW_BYTES, HEADER_BYTES_FACTOR
from grpc_wire.windows import Piece, SendQueue, coalesce

Event = TypeVar("Event")


class DataFrame(NamedTuple):
    """``size`` counts padding, for flow control; the content is ``data[start:stop]``."""

    stream_id: int
    flags: int
    size: int
    data: Piece
    start: int
    stop: int


class Connection(Generic[Event]):
    """One HTTP/2 connection seen from one end. Not a public class; see the two halves.

    What a half must decide is declared here.
    """

    _greet: Callable[[bytes], int]
    """Check the peer's first bytes and set ``_is_greeted``; return how many to skip."""
    _take_known: Callable[[bytes, int, int, list[Event]], int]
    """The fast path: data, position, end, events; returns where the first other frame is."""
    _on_block: Callable[[int, bool, bytes, list[Event]], None]
    """Stream, END_STREAM, header block, events."""
    _on_data: Callable[[DataFrame, list[Event]], None]
    _on_reset: Callable[[int, int, list[Event]], None]
    """Stream, error code, events."""
    _on_goaway: Callable[[int, int, str, list[Event]], None]
    """Last stream, error code, text, events."""
    _on_stream_window: Callable[[int, int, list[Event]], None]
    """Stream, increment, events."""
    _on_sent: Callable[[int, list[Event]], None]
    """The stream has sent all that it had queued."""
    _on_closed: Callable[[str, list[Event]], None]
    _last_peer_stream: Callable[[], int]

    def __init__(self, max_message_bytes: int, max_header_bytes: int, max_frame_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_header_bytes = max_header_bytes
        self._max_block_bytes = HEADER_BYTES_FACTOR * max_header_bytes
        self._max_frame_in = max_frame_bytes
        # One whole message always fits, so that a unary stream needs no WINDOW_UPDATE.
        room = max_message_bytes + frames.DEFAULT_WINDOW_BYTES
        self._stream_window = min(room, frames.LARGEST_WINDOW_BYTES)
        self._inbound_target = max(CONNECTION_WINDOW_BYTES, self._stream_window)
        self._inbound = self._inbound_target
        self._send = SendQueue()
        self._reader = FrameReader()
        # The largest message that may go as one frame by the fast path; 0 until our first
        # header block, which is special, has gone the slow one.
        self._single_max = 0
        # What waits to be written; a shell looks whether there is any, and takes it joined.
        self.output: list[Piece] = []
        self._is_mixed = False  # output holds large pieces or views
        self._block: list[bytes] = []  # fragments of a header block that CONTINUATION goes on with
        self._block_bytes = self._block_flags = 0
        self._block_stream = 0  # 0: no block is open
        self._is_greeted = False  # the peer's first bytes are HTTP/2's
        self._is_settled = False  # the peer's SETTINGS have arrived
        self._closed_reason = ""

    # ------------------------------------------------------------------ for the shell
    @property
    def closed_reason(self) -> str:
        """Why the connection is over, or nothing while it is not."""
        return self._closed_reason

    @property
    def blocked_bytes(self) -> int:
        """Bytes of messages that wait for the peer's windows."""
        return self._send.blocked_bytes

    @property
    def is_unfinished(self) -> bool:
        """The peer has begun a greeting, a frame or a header block, and not ended it."""
        return not self._is_settled or self._reader.held_bytes > 0 or self._block_stream > 0

    @property
    def has_output(self) -> bool:
        """There are bytes to write."""
        return bool(self.output)

    def take_output(self) -> list[Piece]:
        """Return the bytes to write now, in order: small pieces joined, large ones uncopied."""
        out = self.output
        if not out:
            return []
        if self._is_mixed:
            self._is_mixed = False
            chunks = coalesce(out)
        else:
            chunks = out[:] if len(out) == 1 else [b"".join(out)]
        out.clear()
        return chunks

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the transport, cut anywhere; return what they say.

        Never raises for what the peer does: a broken rule ends the connection with CLOSED.
        """
        events: list[Event] = []
        if self._closed_reason:
            return events
        if self._reader.held_bytes:
            joined = self._reader.join(data)
            if joined is None:
                return events
            data = joined
        try:
            self._take_frames(data, events)
        except ConnectionFault as fault:
            self._break(fault.code, fault.text, events)
        return events

    # ------------------------------------------------------------------ frames in
    def _take_frames(self, data: bytes, events: list[Event]) -> None:
        """Handle the whole frames of ``data`` and hold the rest.

        The fast path goes first and goes on after each frame that it left to the slow one.
        """
        pos, end = 0, len(data)
        if not self._is_greeted:
            pos = self._greet(data)
            if not self._is_greeted:
                self._reader.hold(data, 0, end + 1)
                return
        kind = HEADERS
        while True:
            if kind <= HEADERS and self._is_settled and not self._block_stream:
                pos = self._take_known(data, pos, end, events)
            if end - pos < FRAME_HEADER_BYTES:
                if pos < end:
                    self._reader.hold(data, pos, FRAME_HEADER_BYTES)
                return
            word, flags, stream_id = FRAME_HEADER.unpack_from(data, pos)
            size, kind = word >> 8, word & 255
            if size > self._max_frame_in:
                raise ConnectionFault(errors.FRAME_SIZE_ERROR, f"frame of {size} bytes")
            start = pos + FRAME_HEADER_BYTES
            stop = start + size
            if stop > end:
                self._reader.hold(data, pos, stop - pos)
                return
            stream_id &= frames.LARGEST_STREAM_ID
            self._on_frame(kind, flags, stream_id, data, start, stop, events)
            pos = stop
            # After a control frame the next is looked at first: they come in runs.
            kind = data[pos + frames.KIND_AT] if end - pos > frames.KIND_AT else HEADERS

    def _on_frame(
        self,
        kind: int,
        flags: int,
        stream_id: int,
        data: bytes,
        start: int,
        stop: int,
        events: list[Event],
    ) -> None:
        if self._block_stream and kind != frames.CONTINUATION:
            raise ConnectionFault(errors.PROTOCOL_ERROR, "a header block was interrupted")
        if not self._is_settled and kind != frames.SETTINGS:
            raise ConnectionFault(errors.PROTOCOL_ERROR, "the peer's first frame is not SETTINGS")
        if kind == frames.DATA:
            self._on_data_frame(flags, stream_id, data, start, stop, events)
        elif kind == frames.HEADERS:
            _named(stream_id)
            if flags & (frames.PADDED | frames.HAS_PRIORITY):
                start, stop = frames.content_span(kind, flags, data, start, stop)
            if flags & frames.HAS_PRIORITY:
                _check_dependency(stream_id, data[start - 5 : start - 1])
            self._block_stream, self._block_flags, self._block_bytes = stream_id, flags, 0
            self._on_fragment(flags, data[start:stop], events)
        elif kind == frames.CONTINUATION:
            if not self._block_stream or self._block_stream != stream_id:
                raise ConnectionFault(errors.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
            if start == stop and not flags & frames.END_HEADERS:
                raise ConnectionFault(errors.ENHANCE_YOUR_CALM, "empty CONTINUATION")
            self._on_fragment(flags, data[start:stop], events)
        else:
            self._on_control(kind, flags, stream_id, data[start:stop], events)

    def _on_data_frame(
        self, flags: int, stream_id: int, data: Piece, start: int, stop: int, events: list[Event]
    ) -> None:
        size = stop - start
        self._count_inbound(size)
        if flags & frames.PADDED:
            start, stop = frames.content_span(frames.DATA, flags, data, start, stop)
        self._on_data(DataFrame(_named(stream_id), flags, size, data, start, stop), events)

    def _on_fragment(self, flags: int, fragment: bytes, events: list[Event]) -> None:
        """Take a part of a header block; its meaning once it is whole."""
        self._block_bytes += len(fragment)
        if self._block_bytes > self._max_block_bytes:
            raise ConnectionFault(
                errors.ENHANCE_YOUR_CALM, f"header block of {self._block_bytes} bytes"
            )
        self._block.append(fragment)
        if flags & frames.END_HEADERS:
            block, stream_id = b"".join(self._block), self._block_stream
            self._block.clear()
            self._block_stream = 0
            self._on_block(stream_id, bool(self._block_flags & frames.END_STREAM), block, events)

    def _on_control(
        self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream_id, payload, events)
        elif kind == frames.RST_STREAM:
            code = frames.read_word(payload, "RST_STREAM")
            self._on_reset(_named(stream_id), code, events)
        elif kind == frames.PING:
            self._on_ping(flags, stream_id, payload, events)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream_id, payload, events)
        elif kind == frames.GOAWAY:
            _unnamed(stream_id, "GOAWAY")
            self._on_goaway(*frames.read_goaway(payload), events)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(errors.PROTOCOL_ERROR, "PUSH_PROMISE, though push is off")
        elif kind == frames.PRIORITY:
            if len(payload) != frames.PRIORITY_BYTES:
                raise ConnectionFault(errors.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
            _check_dependency(_named(stream_id), payload[:4])
        # Frames of unknown type are ignored (RFC 9113 5.5).

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _unnamed(stream_id, "SETTINGS")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(
                    errors.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with content"
                )
            self._on_settings_acknowledged()
            return
        settings = frames.read_settings(payload)
        send = self._send
        send.max_frame = settings.get(frames.MAX_FRAME_SIZE, send.max_frame)
        if frames.INITIAL_WINDOW_SIZE in settings:
            send.set_initial(settings[frames.INITIAL_WINDOW_SIZE])
        if self._single_max:
            self._allow_single()
        self._is_settled = True
        self._on_peer_settings(settings)
        self.output.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump(events)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _unnamed(stream_id, "PING")
        if len(payload) != 8:
            raise ConnectionFault(errors.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if flags & frames.ACK:
            self._on_pong(payload, events)
        else:
            self.output.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_window_update(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        increment = frames.read_word(payload, "WINDOW_UPDATE") & frames.LARGEST_WINDOW_BYTES
        if not increment:
            raise ConnectionFault(errors.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        if stream_id:
            self._on_stream_window(stream_id, increment, events)
        else:
            self._send.grow(increment)
        if self._send.blocked_bytes:
            self._pump(events)

    def _count_inbound(self, size: int) -> None:
        """Charge ``size`` bytes of DATA to our connection window and refill it at half."""
        self._inbound -= size
        if self._inbound * 2 < self._inbound_target:
            if self._inbound < 0:
                raise ConnectionFault(errors.FLOW_CONTROL_ERROR, "connection window overrun")
            increment = self._inbound_target - self._inbound
            self.output.append(frames.window_update_frame(0, increment))
            self._inbound = self._inbound_target

    # ------------------------------------------------------------------ frames out
    def _announce(self, settings: dict[int, int]) -> None:
        """Queue our SETTINGS and the rest of our connection window."""
        self.output.append(
            frames.settings_frame(
                {
                    frames.HEADER_TABLE_SIZE: 0,
                    frames.INITIAL_WINDOW_SIZE: self._stream_window,
                    frames.MAX_FRAME_SIZE: self._max_frame_in,
                    frames.MAX_HEADER_LIST_SIZE: self._max_header_bytes,
                    **settings,
                }
            )
        )
        increment = self._inbound_target - frames.DEFAULT_WINDOW_BYTES
        self.output.append(frames.window_update_frame(0, increment))

    def _allow_single(self) -> None:
        """Set the fast path's limit from the peer's settings (0 would stop it for good)."""
        self._single_max = max(1, min(self._send.initial, self._send.max_frame))

    def _pump(self, events: list[Event]) -> None:
        """Send what the windows allow."""
        self._is_mixed = True
        for stream_id in self._send.pump(self.output):
            self._on_sent(stream_id, events)

    def _reset(self, stream_id: int, code: int) -> None:
        """Queue a RST_STREAM and forget what the stream had to send."""
        self._send.drop(stream_id)
        self.output.append(frames.rst_stream_frame(stream_id, code))

    def _break(self, code: int, text: str, events: list[Event]) -> None:
        """End the connection by our GOAWAY: the peer broke a rule."""
        self.output.append(frames.goaway_frame(self._last_peer_stream(), code, text))
        self._close(f"{errors.error_name(code)}: {text}", events)

    def _close(self, reason: str, events: list[Event]) -> None:
        """Settle every call, then say that the connection is over."""
        if self._closed_reason:
            return
        self._closed_reason = reason
        self._reader.drop()
        self._send.clear()
        self._on_closed(reason, events)

    # ------------------------------------------------------------------ what a half may decide
    def _on_peer_settings(self, settings: dict[int, int]) -> None:
        """SETTINGS have come; windows and frame size are taken already."""

    def _on_settings_acknowledged(self) -> None:
        """The peer has applied our SETTINGS."""

    def _on_pong(self, payload: bytes, events: list[Event]) -> None:
        """A PING of ours has come back."""


def _named(stream_id: int) -> int:
    if not stream_id:
        raise ConnectionFault(errors.PROTOCOL_ERROR, "a stream's frame on stream 0")
    return stream_id


def _unnamed(stream_id: int, name: str) -> None:
    if stream_id:
        raise ConnectionFault(errors.PROTOCOL_ERROR, f"{name} on stream {stream_id}")


def _check_dependency(stream_id: int, word: bytes) -> None:
    """Priorities are ignored (RFC 9113 5.3.2), but a stream cannot depend on itself (RFC 7540)."""
    if int.from_bytes(word, "big") & frames.LARGEST_STREAM_ID == stream_id:
        raise ConnectionFault(errors.PROTOCOL_ERROR, f"stream {stream_id} depends on itself")
