"""What both halves of a connection share: cutting frames, SETTINGS, PING, windows, output, ends.

Refuses to know what a call is: a half says what HEADERS, DATA, RST_STREAM and GOAWAY mean.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from grpc_wire import frames
from grpc_wire.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    ConnectionFault,
    error_name,
)
from grpc_wire.frames import FRAME_HEADER, FRAME_HEADER_BYTES, HEADERS
from grpc_wire.limits import CONNECTION_WINDOW_BYTES
from grpc_wire.windows import Piece, SendQueue, coalesce

Event = TypeVar("Event")


class Connection(Generic[Event]):
    """One HTTP/2 connection seen from one end. Not a public class; see the two halves."""

    __slots__ = (
        "_closed_reason",
        "_continued",
        "_held",
        "_held_bytes",
        "_inbound",
        "_inbound_target",
        "_is_greeted",
        "_is_mixed",
        "_is_settled",
        "_max_frame_in",
        "_max_header_bytes",
        "_max_message_bytes",
        "_send",
        "_single_max",
        "_stream_window",
        "_wanted_bytes",
        "output",
    )

    def __init__(self, max_message_bytes: int, max_header_bytes: int, max_frame_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_header_bytes = max_header_bytes
        self._max_frame_in = max_frame_bytes
        # One whole message always fits, so that a unary stream needs no WINDOW_UPDATE.
        room = max_message_bytes + frames.DEFAULT_WINDOW_BYTES
        self._stream_window = min(room, frames.LARGEST_WINDOW_BYTES)
        self._inbound_target = max(CONNECTION_WINDOW_BYTES, self._stream_window)
        self._inbound = self._inbound_target
        self._send = SendQueue()
        # The largest message that may go as one frame by the fast path; 0 until our first
        # header block, which is special, has gone the slow one.
        self._single_max = 0
        # What waits to be written; a shell looks whether there is any, and takes it joined.
        self.output: list[Piece] = []
        self._is_mixed = False  # output holds large pieces or views
        self._held: list[Piece] = []
        self._held_bytes = 0
        self._wanted_bytes = 0
        self._continued: tuple[int, int, bytes] | None = None  # stream, flags, block so far
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
        return not self._is_settled or self._held_bytes > 0 or self._continued is not None

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
        if self._held_bytes:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._wanted_bytes:
                return events
            data = b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
        try:
            if self._is_settled and self._continued is None:
                pos = self._take_usual(data, 0, len(data), events)
                if pos == len(data):
                    return events
                data = data[pos:] if pos else data
            self._walk(data, events)
        except ConnectionFault as fault:
            self._break(fault.code, fault.text, events)
        return events

    # ------------------------------------------------------------------ frames in
    def _walk(self, data: bytes, events: list[Event]) -> None:
        """Handle the whole frames of ``data`` and hold the rest."""
        pos = 0
        end = len(data)
        if not self._is_greeted:
            pos = self._greet(data)
        self._wanted_bytes = FRAME_HEADER_BYTES if self._is_greeted else end + 1
        while end - pos >= FRAME_HEADER_BYTES and self._is_greeted:
            if data[pos + 3] <= HEADERS and self._continued is None:
                pos = self._take_usual(data, pos, end, events)
                if end - pos < FRAME_HEADER_BYTES:
                    break
            word, flags, stream_id = FRAME_HEADER.unpack_from(data, pos)
            if word >> 8 > self._max_frame_in:
                raise ConnectionFault(FRAME_SIZE_ERROR, f"frame of {word >> 8} bytes")
            start = pos + FRAME_HEADER_BYTES
            stop = start + (word >> 8)
            if stop > end:
                self._wanted_bytes = stop - pos
                break
            stream_id &= frames.LARGEST_STREAM_ID
            self._on_frame(word & 255, flags, stream_id, data, start, stop, events)
            pos = stop
        if pos < end:
            self._held.append(data[pos:] if pos else data)
            self._held_bytes = end - pos

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
        if self._continued is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "a header block was interrupted")
        if not self._is_settled and kind != frames.SETTINGS:
            raise ConnectionFault(PROTOCOL_ERROR, "the peer's first frame is not SETTINGS")
        if kind == frames.DATA:
            self._on_data_frame(flags, stream_id, data, start, stop, events)
        elif kind == frames.HEADERS:
            if flags & (frames.PADDED | frames.HAS_PRIORITY):
                start, stop = frames.content_span(kind, flags, data, start, stop)
            self._on_fragment(_stream(stream_id), flags, data[start:stop], events)
        elif kind == frames.CONTINUATION:
            self._on_continuation(stream_id, flags, data[start:stop], events)
        else:
            self._on_control(kind, flags, stream_id, data[start:stop], events)

    def _on_data_frame(
        self, flags: int, stream_id: int, data: Piece, start: int, stop: int, events: list[Event]
    ) -> None:
        size = stop - start
        self._count_inbound(size)
        if flags & frames.PADDED:
            start, stop = frames.content_span(frames.DATA, flags, data, start, stop)
        self._on_data(_stream(stream_id), flags, size, data, start, stop, events)

    def _on_fragment(self, stream_id: int, flags: int, block: bytes, events: list[Event]) -> None:
        if len(block) > self._max_header_bytes:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"header block of {len(block)} bytes")
        if flags & frames.END_HEADERS:
            self._continued = None
            self._on_block(stream_id, bool(flags & frames.END_STREAM), block, events)
        else:
            self._continued = (stream_id, flags, block)

    def _on_continuation(
        self, stream_id: int, flags: int, fragment: bytes, events: list[Event]
    ) -> None:
        if self._continued is None or self._continued[0] != stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        if not fragment and not flags & frames.END_HEADERS:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "empty CONTINUATION")
        first_flags = self._continued[1] | (flags & frames.END_HEADERS)
        self._on_fragment(stream_id, first_flags, self._continued[2] + fragment, events)

    def _on_control(
        self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream_id, payload, events)
        elif kind == frames.RST_STREAM:
            code = frames.read_word(payload, "RST_STREAM")
            self._on_reset(_stream(stream_id), code, events)
        elif kind == frames.PING:
            self._on_ping(flags, stream_id, payload, events)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream_id, payload, events)
        elif kind == frames.GOAWAY:
            _no_stream(stream_id, "GOAWAY")
            self._on_goaway(*frames.read_goaway(payload), events)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "PUSH_PROMISE, though push is off")
        elif kind == frames.PRIORITY and len(payload) != 5:
            raise ConnectionFault(FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        # Frames of unknown type are ignored (RFC 9113 5.5).

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _no_stream(stream_id, "SETTINGS")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS acknowledgement with content")
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
        _no_stream(stream_id, "PING")
        if len(payload) != 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if flags & frames.ACK:
            self._on_pong(payload, events)
        else:
            self.output.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_window_update(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        increment = frames.read_word(payload, "WINDOW_UPDATE") & frames.LARGEST_WINDOW_BYTES
        if not increment:
            raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
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
                raise ConnectionFault(FLOW_CONTROL_ERROR, "connection window overrun")
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
        self._close(f"{error_name(code)}: {text}", events)

    def _close(self, reason: str, events: list[Event]) -> None:
        """Settle every call, then say that the connection is over."""
        if self._closed_reason:
            return
        self._closed_reason = reason
        self._held.clear()
        self._held_bytes = 0
        self._send.clear()
        self._on_closed(reason, events)

    # ------------------------------------------------------------------ what a half decides
    def _greet(self, data: bytes) -> int:
        """Check the peer's first bytes and set ``_is_greeted``; return how many to skip."""
        raise NotImplementedError

    def _take_usual(self, data: bytes, pos: int, end: int, events: list[Event]) -> int:
        """Consume what needs no thought from ``pos``; return where the first other byte is."""
        raise NotImplementedError

    def _on_block(
        self, stream_id: int, end_stream: bool, block: bytes, events: list[Event]
    ) -> None:
        raise NotImplementedError

    def _on_data(
        self,
        stream_id: int,
        flags: int,
        size: int,
        data: Piece,
        start: int,
        stop: int,
        events: list[Event],
    ) -> None:
        """``size`` counts padding, for flow control; the content is ``data[start:stop]``."""
        raise NotImplementedError

    def _on_reset(self, stream_id: int, code: int, events: list[Event]) -> None:
        raise NotImplementedError

    def _on_goaway(self, last_stream_id: int, code: int, text: str, events: list[Event]) -> None:
        raise NotImplementedError

    def _on_peer_settings(self, settings: dict[int, int]) -> None:
        """SETTINGS have come; windows and frame size are taken already."""

    def _on_settings_acknowledged(self) -> None:
        """The peer has applied our SETTINGS."""

    def _on_pong(self, payload: bytes, events: list[Event]) -> None:
        """A PING of ours has come back."""

    def _on_stream_window(self, stream_id: int, increment: int, events: list[Event]) -> None:
        raise NotImplementedError

    def _on_sent(self, stream_id: int, events: list[Event]) -> None:
        """The stream has sent all that it had queued."""
        raise NotImplementedError

    def _on_closed(self, reason: str, events: list[Event]) -> None:
        raise NotImplementedError

    def _last_peer_stream(self) -> int:
        raise NotImplementedError


def _stream(stream_id: int) -> int:
    if not stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, "a stream's frame on stream 0")
    return stream_id


def _no_stream(stream_id: int, name: str) -> None:
    if stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, f"{name} on stream {stream_id}")
