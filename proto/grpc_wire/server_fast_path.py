"""What a server takes without thought: requests whose header blocks it has seen before.

The fast part of the receiving side. Whatever it does not know it leaves to ``intake``.
"""

from __future__ import annotations

from grpc_wire import frames
from grpc_wire.connection import Connection
from grpc_wire.events import REQUEST, Metadata, ServerEvent
from grpc_wire.fast_templates import RequestShapes
from grpc_wire.frames import FRAME_HEADER, FRAME_HEADER_BYTES
from grpc_wire.header_cache import RequestHead
from grpc_wire.limits import REMEMBERED_SIZES
from grpc_wire.messages import PREFIX_BYTES, frame_prefix
from grpc_wire.server_stream import Request


class UsualRequests(Connection[ServerEvent]):
    """The open streams of a server's connection, and the quick way in. Not a public class."""

    __slots__ = (
        "_headed",
        "_largest_data",
        "_last_id",
        "_max_streams",
        "_open",
        "_plain",
        "_prefixes",
        "_shapes",
        "_usual",
    )

    def __init__(
        self,
        max_message_bytes: int,
        max_header_bytes: int,
        max_frame_bytes: int,
        max_concurrent_streams: int,
    ) -> None:
        super().__init__(max_message_bytes, max_header_bytes, max_frame_bytes)
        self._max_streams = max_concurrent_streams
        self._open: dict[int, Request | None] = {}  # None: request delivered, nothing answered
        self._headed: dict[int, RequestHead] = {}  # unary streams that sent HEADERS and no more
        self._plain: dict[bytes, RequestHead] = {}  # lasting blocks of good unary requests
        self._prefixes: dict[int, bytes] = {}  # what ``_prefix`` gave, by size
        self._largest_data = min(max_message_bytes + PREFIX_BYTES, max_frame_bytes)
        self._last_id = 0
        self._shapes = RequestShapes()
        self._usual: tuple[bytes, Metadata] = (b"", {})

    def _take_usual(self, data: bytes, pos: int, end: int, events: list[ServerEvent]) -> int:
        shapes = self._shapes
        by_size = shapes.by_size
        mark, head_start = shapes.mark, shapes.head_start
        path, metadata = self._usual
        opened = self._open
        last = self._last_id
        room = self._max_streams - len(opened) - len(self._headed)
        consumed = 0
        tried = None
        while True:
            shape = by_size.get(data[pos + mark : pos + mark + 3])
            if shape is None or shape is tried:
                break
            tried = shape
            unpack, total, middle, prefix, charge = shape
            while room > 0 and pos + total <= end:  # most requests are as long as the one before
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
        return pos if pos == end else self._take_plain(data, pos, end, events)

    def _take_plain(self, data: bytes, pos: int, end: int, events: list[ServerEvent]) -> int:
        """Consume HEADERS seen before and whole messages in one closing DATA, in any order.

        Clients on C-core and nghttp2 put other frames between the two.
        """
        opened, headed, plain = self._open, self._headed, self._plain
        room = self._max_streams - len(opened) - len(headed)
        last, block, consumed = self._last_id, b"", 0
        while end - pos >= FRAME_HEADER_BYTES:
            word, flags, stream_id = FRAME_HEADER.unpack_from(data, pos)
            start = pos + FRAME_HEADER_BYTES
            size = word >> 8
            stop = start + size
            if stop > end:
                break
            if word & 255 == frames.DATA and flags == frames.END_STREAM:
                head = headed.get(stream_id)
                prefix = self._prefixes.get(size) or self._prefix(size)
                if head is None or data[start : start + PREFIX_BYTES] != prefix:
                    break
                consumed += size
                del headed[stream_id]
                opened[stream_id] = None
                message = data[start + PREFIX_BYTES : stop]
                events.append((REQUEST, stream_id, head.path, message, head.metadata))
                if block and stream_id == last:
                    self._learn(block, size, head)
            elif word & 255 == frames.HEADERS and flags == frames.END_HEADERS:
                block = data[start:stop]
                head = plain.get(block)
                is_new = last < stream_id <= frames.LARGEST_STREAM_ID and stream_id & 1
                if head is None or not is_new or room <= 0:
                    break
                headed[stream_id] = head
                last = stream_id
                room -= 1
            else:
                break
            pos = stop
        self._last_id = last
        if consumed:
            self._count_inbound(consumed)
        return pos

    def _prefix(self, size: int) -> bytes:
        """First bytes of DATA that is one uncompressed message; none if it is beyond the limits."""
        if not PREFIX_BYTES <= size <= self._largest_data:
            return b""
        if len(self._prefixes) >= REMEMBERED_SIZES:
            self._prefixes.clear()
        prefix = self._prefixes[size] = frame_prefix(size - PREFIX_BYTES)
        return prefix

    def _learn(self, block: bytes, size: int, head: RequestHead) -> None:
        """Take HEADERS and DATA that came one after the other for what others may be like."""
        if self._shapes.learn(block, size):
            self._usual = (head.path, head.metadata)
