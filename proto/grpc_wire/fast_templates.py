"""The usual call as one shape: frames whose bytes, but for stream id and message, repeat.

A peer that uses no header table sends the same HEADERS (and trailers) with every good call, so
a whole request or answer is one ``struct`` per message length. Nothing is guessed: every
repeated byte is compared.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from grpc_wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame_start
from grpc_wire.limits import PATIENCE, REMEMBERED_SIZES
from grpc_wire.messages import PREFIX_BYTES, frame_prefix

UnpackRequest = Callable[[bytes, int], tuple[bytes, int, bytes, int, bytes, bytes]]
AnswerFields = tuple[bytes, int, bytes, int, bytes, bytes, bytes, int, bytes]
UnpackAnswers = Callable[[bytes | memoryview], Iterator[AnswerFields]]
# unpack_from, of answers iter_unpack; bytes of the whole; bytes between the first two stream ids;
# the message's prefix; bytes of DATA
RequestShape = tuple[UnpackRequest, int, bytes, bytes, int]
AnswerShape = tuple[UnpackAnswers, int, bytes, bytes, int]


class RequestShapes:
    """HEADERS + DATA with END_STREAM. ``by_size``: shapes by DATA's length, three bytes."""

    __slots__ = ("_block", "_misses", "by_size", "head_start", "mark")

    def __init__(self) -> None:
        self.by_size: dict[bytes, RequestShape] = {}
        self.mark = 0  # where DATA starts within the request
        self.head_start = b""
        self._block = b""
        self._misses = 0

    def forget(self) -> None:
        """Recognise nothing until it is learned again."""
        self.by_size.clear()
        self._block = b""

    def learn(self, block: bytes, size: int) -> bool:
        """Take a good request read the slow way; True if its block is the usual one now.

        ``size``: the length of its one DATA frame.
        """
        if block != self._block:
            self._misses += 1
            if self._block and self._misses < PATIENCE:
                return False
            self._misses = 0
            self._block = block
            self.by_size.clear()
            self.mark = 9 + len(block)
            self.head_start = frame_start(len(block), HEADERS, END_HEADERS)
        mark = size.to_bytes(3, "big")
        if mark not in self.by_size:
            if len(self.by_size) >= REMEMBERED_SIZES:
                self.by_size.clear()
            self.by_size[mark] = self._shape(size)
        return True

    def _shape(self, size: int) -> RequestShape:
        middle = self._block + frame_start(size, DATA, END_STREAM)
        message_bytes = size - PREFIX_BYTES
        layout = struct.Struct(f">5sI{len(middle)}sI{PREFIX_BYTES}s{message_bytes}s")
        return layout.unpack_from, layout.size, middle, frame_prefix(message_bytes), size


class AnswerShapes:
    """HEADERS + DATA + trailers. ``by_size``: shapes by DATA's length, three bytes."""

    __slots__ = ("_head", "_misses", "by_size", "head_start", "mark", "tail", "tail_start")

    def __init__(self) -> None:
        self.by_size: dict[bytes, AnswerShape] = {}
        self.mark = 0  # where DATA starts within the answer
        self.head_start = b""
        self.tail_start = b""
        self.tail = b""
        self._head = b""
        self._misses = 0

    def learn(self, head: bytes, tail: bytes, size: int) -> None:
        """Take a good answer read the slow way; ``size``: the length of its one DATA frame."""
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

    def _shape(self, size: int) -> AnswerShape:
        middle = self._head + frame_start(size, DATA, 0)
        message_bytes = size - PREFIX_BYTES
        layout = struct.Struct(
            f">5sI{len(middle)}sI{PREFIX_BYTES}s{message_bytes}s5sI{len(self.tail)}s"
        )
        return layout.iter_unpack, layout.size, middle, frame_prefix(message_bytes), size
