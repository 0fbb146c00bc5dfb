"""The open streams of a server's connection, and the tight loop that takes most requests in.

A unary stream goes through these tables: ``headed``, ``opened``, gone. Frames of different streams
may come in any order, as clients on C-core and nghttp2 send them.
"""

from __future__ import annotations

from collections import OrderedDict

from grpc_wire.errors import ENHANCE_YOUR_CALM, ConnectionFault
from grpc_wire.events import REQUEST, ServerEvent
from grpc_wire.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_AND_PREFIX,
    FRAME_HEADER_BYTES,
    HEADERS,
    LARGEST_STREAM_ID,
)
from grpc_wire.header_cache import KnownBlocks, RequestHead
from grpc_wire.limits import REMEMBERED_RESETS
from grpc_wire.messages import PREFIX_BYTES
from grpc_wire.server_stream import Request

_LEAST_BYTES = FRAME_AND_PREFIX.size
_MESSAGE_AT = FRAME_HEADER_BYTES + PREFIX_BYTES


class RequestTable:
    """Streams by id. ``headed``: a unary stream that has sent known headers, and no more.

    ``opened``: every other one; None where its request was delivered whole and nothing answered,
    which is all there is to know. ``known``: header blocks of good unary requests.
    """

    def __init__(self, largest_message: int, limit: int, max_resets: int) -> None:
        """``largest_message``: bytes of one that may come in one DATA frame."""
        self._largest_message = largest_message
        self._max_resets = max_resets
        self.limit = limit
        self.opened: dict[int, Request | None] = {}
        self.headed: dict[int, RequestHead] = {}
        self.known: KnownBlocks[RequestHead] = KnownBlocks()
        self.last_id = 0
        self._opened_count = 0  # streams opened so far
        self._reset_count = 0  # streams reset so far, by the client or for what it did
        # Streams that we reset, or ended while the client was sending.
        self._ours: OrderedDict[int, None] = OrderedDict()

    @property
    def open_count(self) -> int:
        """Streams that are not finished."""
        return len(self.opened) + len(self.headed)

    def take_known(
        self, data: bytes, pos: int, end: int, events: list[ServerEvent]
    ) -> tuple[int, int]:
        """Take frames from ``pos`` while each is known headers, or a whole message and the end.

        Returns where the first other frame begins, and the bytes of DATA that were taken.
        """
        opened, headed, known = self.opened, self.headed, self.known.by_block
        largest, last_id = self._largest_message, self.last_id
        first_room = room = self.limit - len(opened) - len(headed)
        unpack = FRAME_AND_PREFIX.unpack_from
        append = events.append
        data_bytes = 0
        last = end - _LEAST_BYTES
        while pos <= last:
            word, flags, stream_id, is_compressed, length = unpack(data, pos)
            stop = pos + FRAME_HEADER_BYTES + (word >> 8)
            if stop > end:
                break
            kind = word & 255
            if not kind:  # DATA
                message_at = pos + _MESSAGE_AT
                if flags != END_STREAM or is_compressed:
                    break
                if length != stop - message_at or length > largest:
                    break
                head = headed.pop(stream_id, None)
                if head is None:
                    break
                opened[stream_id] = None
                message = data[message_at:stop]
                append((REQUEST, stream_id, head.path, message, head.metadata))
                data_bytes += length + PREFIX_BYTES
            elif kind == HEADERS and flags == END_HEADERS:
                head = known.get(data[pos + FRAME_HEADER_BYTES : stop])
                if head is None or not last_id < stream_id <= LARGEST_STREAM_ID:
                    break
                if room <= 0 or not stream_id & 1:
                    break
                headed[stream_id] = head
                last_id = stream_id
                room -= 1
            else:
                break
            pos = stop
        self.last_id = last_id
        self._opened_count += first_room - room
        return pos, data_bytes

    def begin(self, stream_id: int) -> bool:
        """A stream was opened by headers that are not known; False: there is no room for it."""
        self.last_id = stream_id
        self._opened_count += 1
        return self.open_count < self.limit

    def is_gone(self, stream_id: int) -> bool:
        """The stream was open once, and is not any more."""
        if stream_id in self.opened or stream_id in self.headed:
            return False
        return stream_id <= self.last_id and stream_id & 1 == 1

    def note_ours(self, stream_id: int) -> None:
        """We end this stream while the client may be sending: its frames are no fault of his."""
        self._ours[stream_id] = None
        if len(self._ours) > REMEMBERED_RESETS:
            self._ours.popitem(last=False)

    def is_ours(self, stream_id: int) -> bool:
        """See ``note_ours``."""
        return stream_id in self._ours

    def count_reset(self) -> None:
        """A stream is reset by the client, or by us for what the client did.

        Raises ConnectionFault past the limit: opening a stream and having it reset costs the client
        nothing and us a call (CVE-2023-44487, CVE-2025-8671).
        """
        self._reset_count += 1
        answered_count = self._opened_count - self.open_count - self._reset_count
        if self._reset_count > self._max_resets + max(0, answered_count):
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"{self._reset_count} streams reset")
