"""Holds the bytes of a frame that is not whole yet, and says where the rest of a large one belongs.

A tensor in one DATA frame is read into memory of its own so, and copied by the kernel alone.
"""

from __future__ import annotations

from collections.abc import Callable

from grpc_wire import frames
from grpc_wire.limits import IN_PLACE_BYTES_MIN
from grpc_wire.windows import Piece


class FrameReader:
    """The unfinished end of what was received. Its first byte begins a frame."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.wanted_bytes = 0
        """Of the frame that is held: no less is worth a look."""
        self._pieces: list[Piece] = []
        self._region = memoryview(b"")
        # The part of the region that has come. While it is what is held, the region is in use.
        self._filled: Piece = b""

    def hold(self, data: bytes, pos: int, wanted_bytes: int) -> None:
        """Keep ``data`` from ``pos`` on."""
        self.wanted_bytes = wanted_bytes
        self.held_bytes = len(data) - pos
        if self.held_bytes:
            self._pieces.append(data[pos:] if pos else data)

    def join(self, data: bytes) -> bytes | None:
        """Return what was held with ``data`` behind it; None, and hold all, if it is too little."""
        self._pieces.append(data)
        self.held_bytes += len(data)
        if self.held_bytes < self.wanted_bytes:
            return None
        joined = b"".join(self._pieces)
        self.drop()
        return joined

    def drop(self) -> None:
        """Hold nothing."""
        self._pieces.clear()
        self.held_bytes = 0

    def region(self, allocate: Callable[[int], memoryview]) -> memoryview | None:
        """Where the missing end of a DATA frame belongs; None where it is short or none has begun.

        ``allocate`` gives that many writable bytes, of any content.
        """
        pieces = self._pieces
        if not pieces or pieces[-1] is not self._filled:
            missing = self.wanted_bytes - self.held_bytes
            if not pieces or missing < IN_PLACE_BYTES_MIN or len(pieces[0]) <= frames.KIND_AT:
                return None
            if pieces[0][frames.KIND_AT] != frames.DATA:
                return None
            self._region = allocate(self.wanted_bytes)
            self._region[: self.held_bytes] = b"".join(pieces)
            self._keep()
        return self._region[self.held_bytes :]

    def fill(self, count: int) -> memoryview | None:
        """``count`` bytes were read into the region; return the whole frame, once it is there."""
        self.held_bytes += count
        if self.held_bytes < self.wanted_bytes:
            self._keep()
            return None
        whole = self._region.toreadonly()
        self._region, self._filled = memoryview(b""), b""
        self.drop()
        return whole

    def _keep(self) -> None:
        """Hold what has come as ``join`` would, which may go on from there."""
        self._filled = self._region[: self.held_bytes]
        self._pieces[:] = [self._filled]
