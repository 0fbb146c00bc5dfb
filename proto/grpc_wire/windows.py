"""Flow control both ways: what may be sent now, and when the peer's window is refilled.

Sending is oldest stream first, so that a message once begun ends as soon as it can; a stream
whose own window is empty steps aside for the others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final

from grpc_wire.errors import FLOW_CONTROL_ERROR, ConnectionFault
from grpc_wire.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW_BYTES,
    END_STREAM,
    FRAME_HEADER,
    LARGEST_WINDOW_BYTES,
)
from grpc_wire.limits import LARGE_PIECE_BYTES

Piece = bytes | memoryview

WRITEV_PIECES_MAX: Final = 512
"""Pieces in one system call; the kernel's own limit is 1024."""


def listed(parts: Piece | Sequence[Piece]) -> Sequence[Piece]:
    """Return the pieces of ``parts``, which may be one."""
    return (parts,) if isinstance(parts, bytes | memoryview) else parts


def pieces_of(parts: Piece | Sequence[Piece]) -> list[memoryview]:
    """Return ``parts`` as views that can be cut without a copy."""
    return [memoryview(part) for part in listed(parts) if len(part)]


def coalesce(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the same bytes with neighbouring small pieces joined and large ones untouched."""
    chunks: list[Piece] = []
    small: list[Piece] = []
    for piece in pieces:
        if len(piece) < LARGE_PIECE_BYTES:
            small.append(piece)
            continue
        if small:
            chunks.append(b"".join(small))
            small.clear()
        chunks.append(piece)
    if small:
        chunks.append(b"".join(small))
    return chunks


def unsent(pieces: Sequence[Piece], sent_bytes: int) -> list[Piece]:
    """Return what is left of ``pieces`` once their first bytes are on their way."""
    for index, piece in enumerate(pieces):
        if sent_bytes < len(piece):
            return [memoryview(piece)[sent_bytes:], *pieces[index + 1 :]]
        sent_bytes -= len(piece)
    return []


class _Outgoing:
    """What one stream has still to send. ``tail``: frames after the data; None: END_STREAM."""

    __slots__ = ("pieces", "size", "tail")

    def __init__(self) -> None:
        self.pieces: deque[memoryview] = deque()
        self.size = 0
        self.tail: bytes | None = b""


class SendQueue:
    """The peer's windows, and the DATA that waits for them.

    A stream's window is ``initial + offsets[stream]``, so a changed INITIAL_WINDOW_SIZE reaches
    every stream at once and may leave some negative (RFC 9113 6.9.2).
    """

    def __init__(self) -> None:
        self.window = DEFAULT_WINDOW_BYTES
        self.initial = DEFAULT_WINDOW_BYTES
        self.max_frame = DEFAULT_FRAME_BYTES
        self.offsets: dict[int, int] = {}
        self.blocked_bytes = 0
        self._ready: OrderedDict[int, _Outgoing] = OrderedDict()
        self._starved: dict[int, _Outgoing] = {}

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._ready or stream_id in self._starved

    def push(self, stream_id: int, pieces: Iterable[memoryview], tail: bytes | None) -> None:
        """Queue ``pieces`` after what the stream has queued; ``tail`` replaces its tail."""
        outgoing = self._ready.get(stream_id) or self._starved.get(stream_id)
        if outgoing is None:
            outgoing = self._ready[stream_id] = _Outgoing()
        for piece in pieces:
            outgoing.pieces.append(piece)
            outgoing.size += len(piece)
            self.blocked_bytes += len(piece)
        outgoing.tail = tail

    def drop(self, stream_id: int) -> bool:
        """Forget a stream; True if it had something left to send."""
        self.offsets.pop(stream_id, None)
        outgoing = self._ready.pop(stream_id, None) or self._starved.pop(stream_id, None)
        if outgoing is None:
            return False
        self.blocked_bytes -= outgoing.size
        return True

    def clear(self) -> None:
        """Forget everything: the connection is over."""
        self._ready.clear()
        self._starved.clear()
        self.offsets.clear()
        self.blocked_bytes = 0

    def grow(self, increment: int) -> None:
        """Add the connection's WINDOW_UPDATE."""
        self.window += increment
        if self.window > LARGEST_WINDOW_BYTES:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "connection window above 2^31-1")

    def grow_stream(self, stream_id: int, increment: int) -> bool:
        """Add a stream's WINDOW_UPDATE; False: it is too large, the stream must be reset."""
        offset = self.offsets.get(stream_id, 0) + increment
        self.offsets[stream_id] = offset
        self._wake(stream_id)
        return self.initial + offset <= LARGEST_WINDOW_BYTES

    def set_initial(self, initial: int) -> None:
        """Take the peer's INITIAL_WINDOW_SIZE, for the streams now open too."""
        self.initial = initial
        if initial + max(self.offsets.values(), default=0) > LARGEST_WINDOW_BYTES:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "stream window above 2^31-1")
        for stream_id in list(self._starved):
            self._wake(stream_id)

    def pump(self, out: list[Piece]) -> list[int]:
        """Append the frames that the windows allow to ``out``; return the streams now empty."""
        emptied: list[int] = []
        ready = self._ready
        while ready:
            stream_id, outgoing = next(iter(ready.items()))
            self._send(stream_id, outgoing, out)
            if not outgoing.size:
                del ready[stream_id]
                if outgoing.tail:
                    out.append(outgoing.tail)
                emptied.append(stream_id)
            elif self.window > 0:
                self._starved[stream_id] = ready.pop(stream_id)
            else:
                break
        return emptied

    def _wake(self, stream_id: int) -> None:
        outgoing = self._starved.get(stream_id)
        if outgoing is not None and self.initial + self.offsets.get(stream_id, 0) > 0:
            self._ready[stream_id] = self._starved.pop(stream_id)

    def _send(self, stream_id: int, outgoing: _Outgoing, out: list[Piece]) -> None:
        """Send one stream's data until it, its window or the connection's window ends."""
        offset = self.offsets.get(stream_id, 0)
        while outgoing.size:
            length = min(outgoing.size, self.max_frame, self.window, self.initial + offset)
            if length <= 0:
                break
            offset -= length
            self.window -= length
            self.blocked_bytes -= length
            outgoing.size -= length
            flags = END_STREAM if outgoing.tail is None and not outgoing.size else 0
            out.append(FRAME_HEADER.pack(length << 8 | DATA, flags, stream_id))
            _take(outgoing.pieces, length, out)
        self.offsets[stream_id] = offset


def _take(pieces: deque[memoryview], length: int, out: list[Piece]) -> None:
    """Move ``length`` bytes from the front of ``pieces`` to ``out``."""
    while length:
        piece = pieces[0]
        if len(piece) <= length:
            out.append(pieces.popleft())
            length -= len(piece)
        else:
            out.append(piece[:length])
            pieces[0] = piece[length:]
            length = 0
