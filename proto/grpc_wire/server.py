"""The server half: requests in, answers out. A unary call is one tuple in and one ``respond``.

This file is the answering side and what a shell uses; ``intake`` is the receiving side.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpc_wire import frames
from grpc_wire.errors import NO_ERROR
from grpc_wire.events import (
    CANCELLED,
    CLOSED,
    HALF_CLOSED,
    MESSAGE,
    OPENED,
    REQUEST,
    ServerEvent,
)
from grpc_wire.header_cache import RequestHead
from grpc_wire.headers import TABLE_SIZE_ZERO, encode_block, status_fields
from grpc_wire.intake import RequestIntake
from grpc_wire.limits import LARGE_PIECE_BYTES
from grpc_wire.response_template import (
    HEAD,
    HEAD_FIELDS,
    HEAD_START,
    MIDDLES,
    TAIL,
    TAIL_FIELDS,
    TAIL_START,
    usual_middle,
)
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

_DRAIN_PING = b"draining"
_NO_HEAD = RequestHead(b"", {})


class ServerConnection(RequestIntake):
    """One connection from a client; bytes in, events out, bytes out.

    Streams in ``streaming_paths`` are told message by message, all others as one REQUEST.
    """

    __slots__ = ()

    # ------------------------------------------------------------------ for the shell
    def start(self) -> None:
        """Queue our SETTINGS and a large connection window."""
        self._announce({frames.MAX_CONCURRENT_STREAMS: self._max_streams})

    @property
    def is_drained(self) -> bool:
        """After ``goaway``: every stream is finished and no new one can come."""
        return self._drain == 2 and not self.open_count

    def respond(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """Answer a unary call: headers, one message, status OK.

        ``parts`` is the message with its five-byte prefix, in bytes or views of single bytes.
        False: the client has gone or gave the call up, and the answer is dropped.
        """
        if self._open.get(stream_id, self) is not None or not isinstance(parts, bytes):
            return self._respond_slowly(stream_id, parts)
        size = len(parts)
        send = self._send
        if size > self._single_max or size > send.window:
            return self._respond_slowly(stream_id, parts)
        del self._open[stream_id]
        if send.offsets:  # what the client added to its window; nothing has been taken yet
            send.offsets.pop(stream_id, None)
        send.window -= size
        word = stream_id.to_bytes(4, "big")
        middle = MIDDLES.get(size) or usual_middle(size)
        if size < LARGE_PIECE_BYTES:
            self.output.append(word.join((HEAD_START, middle, parts + TAIL_START, TAIL)))
        else:
            self.output += (HEAD_START, word, middle, word, parts, TAIL_START, word, TAIL)
            self._is_mixed = True
        return True

    def send_message(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """Send one message (with its prefix) of an answer that ``finish`` will end."""
        stream = self._answering(stream_id)
        if stream is None or stream.is_ended:
            return False
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
            self.output.append(frames.goaway_frame(frames.LARGEST_STREAM_ID, NO_ERROR))
            self.output.append(frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    def eof(self) -> list[ServerEvent]:
        """The transport is closed: every call the application knows is cancelled."""
        events: list[ServerEvent] = []
        self._close("connection closed by the peer", events)
        return events

    # ------------------------------------------------------------------ answers out
    def _answering(self, stream_id: int) -> Request | None:
        """Return a stream with room to remember its answer; None: gone."""
        stream = self._open.get(stream_id)
        if stream is None and stream_id in self._open:
            stream = Request(_NO_HEAD, b"", 0, streaming=False)
            stream.is_half_closed = stream.is_known = True
            self._open[stream_id] = stream
        return stream

    def _respond_slowly(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        stream = self._answering(stream_id)
        if stream is None or stream.is_ended:
            return False
        self._start_answer(stream_id, stream)
        self._send.push(stream_id, pieces_of(parts), b"")
        self._end_answer(stream_id, stream, TAIL_FIELDS)
        self._pump([])
        return True

    def _start_answer(self, stream_id: int, stream: Request) -> None:
        if not stream.is_started:
            stream.is_started = True
            self.output.append(self._headers_frame(stream_id, HEAD, 0))

    def _end_answer(
        self, stream_id: int, stream: Request, fields: list[tuple[str, str]], status: int = 200
    ) -> None:
        """Queue the trailers behind the data; a client still sending is told to stop."""
        stream.is_ended = True
        if not stream.is_started:
            fields = [(":status", str(status)), *HEAD_FIELDS[1:], *fields]
        block = TAIL if fields == TAIL_FIELDS else encode_block(fields)
        tail = self._headers_frame(stream_id, block, frames.END_STREAM)
        if not stream.is_half_closed:
            tail += frames.rst_stream_frame(stream_id, NO_ERROR)
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
        self._end_answer(stream_id, stream, fields, status)
        self._pump([])

    def _on_sent(self, stream_id: int, events: list[ServerEvent]) -> None:
        stream = self._open.get(stream_id)
        if stream is not None and stream.is_ended:
            self._forget(stream_id)

    # ------------------------------------------------------------------ the graceful end
    def _on_pong(self, payload: bytes, events: list[ServerEvent]) -> None:
        if self._drain == 1 and payload == _DRAIN_PING:
            self._drain = 2
            self._shapes.forget()
            self._max_streams = 0
            self.output.append(frames.goaway_frame(self._last_id, NO_ERROR))
