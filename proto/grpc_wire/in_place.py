"""Large DATA frames read into memory of their own, so that a tensor is copied by the kernel alone.

The shell asks before each read; where it is told nothing, it reads as always and says ``receive``.
"""

from __future__ import annotations

from collections.abc import Callable

from grpc_wire import frames
from grpc_wire.errors import ConnectionFault
from grpc_wire.events import ServerEvent
from grpc_wire.frames import FRAME_HEADER, FRAME_HEADER_BYTES
from grpc_wire.limits import IN_PLACE_BYTES_MIN
from grpc_wire.server_fast_path import UsualRequests
from grpc_wire.windows import Piece


class RequestsInPlace(UsualRequests):
    """The second quick way in, beside the usual requests. Not a public class."""

    __slots__ = ("_filled", "_place")

    def __init__(self, *limits: int) -> None:
        """``limits``: those of ``UsualRequests``."""
        super().__init__(*limits)
        self._place = memoryview(b"")
        # The part of it that has come. While it is what the connection holds, the place is in use.
        self._filled: Piece = b""

    def frame_buffer(self, allocate: Callable[[int], memoryview]) -> memoryview | None:
        """Where the missing end of a DATA frame belongs; None where it is short, or none has begun.

        ``allocate`` gives that many writable bytes, of any content. What was read there is told by
        ``frame_filled``, before anything else.
        """
        held = self._held
        if not held or held[-1] is not self._filled:
            missing = self._wanted_bytes - self._held_bytes
            if not held or missing < IN_PLACE_BYTES_MIN or not self._is_data_begun():
                return None
            self._place = allocate(self._wanted_bytes)
            self._place[: self._held_bytes] = b"".join(held)
            self._keep()
        return self._place[self._held_bytes :]

    def frame_filled(self, count: int) -> list[ServerEvent]:
        """``count`` bytes were read into the last ``frame_buffer``; see ``receive``."""
        events: list[ServerEvent] = []
        self._held_bytes += count
        if self._held_bytes < self._wanted_bytes:
            self._keep()
            return events
        data = self._place.toreadonly()
        self._place, self._filled = memoryview(b""), b""
        self._held.clear()
        self._held_bytes = 0
        _, flags, stream_id = FRAME_HEADER.unpack_from(data)
        stream_id &= frames.LARGEST_STREAM_ID
        try:
            self._on_data_frame(flags, stream_id, data, FRAME_HEADER_BYTES, len(data), events)
        except ConnectionFault as fault:
            self._break(fault.code, fault.text, events)
        return events

    def _is_data_begun(self) -> bool:
        """What is held begins with a DATA frame's header, and one may come now."""
        return (
            self._held[0][frames.KIND_AT] == frames.DATA
            and self._is_settled
            and self._continued is None
        )

    def _keep(self) -> None:
        """Hold what has come as ``receive`` would, which may go on from there."""
        self._filled = self._place[: self._held_bytes]
        self._held[:] = [self._filled]
