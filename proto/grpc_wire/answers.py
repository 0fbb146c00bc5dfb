"""How a client recognises answers: blocks by their bytes, and the usual answer as one shape.

A server that we told to use no header table sends the same HEADERS and trailers bytes with
every good answer, so HEADERS + DATA + trailers is one ``struct`` per message length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from grpc_wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame_start
from grpc_wire.headers import REMEMBERED_BLOCKS, BlockReader, Response, read_response
from grpc_wire.messages import PREFIX_BYTES, frame_prefix

Unpack = Callable[[bytes, int], tuple[bytes, int, bytes, int, bytes, bytes, bytes, int, bytes]]
# unpack_from, bytes of the whole answer, bytes between its first two stream ids, the message's
# prefix, bytes of DATA
Shape = tuple[Unpack, int, bytes, bytes, int]

REMEMBERED_SIZES = 4_096
# Answers of another shape in a row before it is taken for the usual one.
PATIENCE = 8


class ResponseReader:
    """Reads answer blocks. The table size is 0, so a block may always be remembered."""

    __slots__ = ("_known", "_reader")

    def __init__(self, max_header_bytes: int) -> None:
        self._reader = BlockReader(max_header_bytes, table_bytes=0)
        self._known: dict[bytes, Response] = {}

    def read(self, block: bytes) -> Response:
        """Return what the block says; raises ConnectionFault if it is no header block."""
        response = self._known.get(block)
        if response is None:
            response = read_response(self._reader.read(block))
            if len(self._known) >= REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[block] = response
        return response


class AnswerShapes:
    """The usual answer's shapes by the length of DATA, as its three bytes on the wire."""

    __slots__ = ("_head", "_misses", "by_size", "head_start", "mark", "tail", "tail_start")

    def __init__(self) -> None:
        self.by_size: dict[bytes, Shape] = {}
        self.mark = 0  # where the DATA frame starts within the answer
        self.head_start = b""
        self.tail_start = b""
        self.tail = b""
        self._head = b""
        self._misses = 0

    def learn(self, head: bytes, tail: bytes, size: int) -> None:
        """Take a good answer that was read the slow way; ``size``: the length of its DATA."""
        if head[0] & 0xE0 == 0x20:  # starts with a table size update, as only the first one does
            return
        if head != self._head or tail != self.tail:
            self._misses += 1
            if self._head and self._misses < PATIENCE:
                return
            self._take(head, tail)
        if len(self.by_size) >= REMEMBERED_SIZES:
            self.by_size.clear()
        self.by_size[size.to_bytes(3, "big")] = self._shape(size)

    def _take(self, head: bytes, tail: bytes) -> None:
        self._misses = 0
        self._head = head
        self.tail = tail
        self.by_size.clear()
        self.mark = 9 + len(head)
        self.head_start = frame_start(len(head), HEADERS, END_HEADERS)
        self.tail_start = frame_start(len(tail), HEADERS, END_HEADERS | END_STREAM)

    def _shape(self, size: int) -> Shape:
        middle = self._head + frame_start(size, DATA, 0)
        layout = struct.Struct(
            f">5sI{len(middle)}sI{PREFIX_BYTES}s{size - PREFIX_BYTES}s5sI{len(self.tail)}s"
        )
        prefix = frame_prefix(size - PREFIX_BYTES)
        return layout.unpack_from, layout.size, middle, prefix, size
