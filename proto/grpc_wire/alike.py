"""Requests alike that fill a read, and their ready answers: checked, and made, as one piece.

A client on nghttp2 writes the HEADERS of all calls of a turn and then their DATA. Nothing is
guessed: every byte is compared with what it must be, but the messages' own, which nobody reads.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import Final

from grpc_wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER_BYTES,
    HEADERS,
    KIND_AT,
    STREAM_ID_AT,
    frame_start,
)
from grpc_wire.limits import GROUP_COUNT_MAX, REMEMBERED_LAYOUTS
from grpc_wire.messages import PREFIX_BYTES, frame_prefix
from grpc_wire.response_template import around_ids
from grpc_wire.stream_ids import lower_halves, share_upper_half, stamp

_HEADERS_BYTE: Final = bytes([HEADERS])


class ReadyMessage:
    """What answers every request whose message has a certain byte at a certain place."""

    __slots__ = ("around", "data_bytes_min", "mark", "mark_at", "message")

    def __init__(self, message: bytes, mark_at: int, mark: bytes) -> None:
        """``message``: the answer, with its five-byte prefix."""
        self.message = message
        self.mark_at = mark_at
        self.mark = mark
        self.data_bytes_min = PREFIX_BYTES + mark_at + len(mark)
        self.around = around_ids(message)


class Group:
    """So many requests alike as one read, all HEADERS first, and their answers.

    They are made once, but for the lower halves of the stream ids. Those are written into them each
    time, before the requests come where they can be told; then all is compared as a whole.
    """

    __slots__ = (
        "_answer_places",
        "_answers",
        "_around_front",
        "_first_answer",
        "_first_front",
        "_first_id",
        "_fronts",
        "_heads",
        "_layout",
        "_other_answers",
        "count",
        "data_bytes",
        "message_bytes",
        "read_bytes",
        "ready",
        "upper",
    )

    def __init__(
        self, count: int, upper: bytes, block: bytes, layout: struct.Struct, ready: ReadyMessage
    ) -> None:
        """``upper``: the first two bytes of their stream ids; ``layout``: of all DATA frames."""
        word = upper + bytes(2)
        head_start = frame_start(len(block), HEADERS, END_HEADERS)
        size = layout.size // count - FRAME_HEADER_BYTES
        prefix = frame_prefix(size - PREFIX_BYTES)
        self.count, self.upper, self.ready = count, upper, ready
        self.data_bytes = size * count
        self.message_bytes = len(ready.message) * count
        self._layout = layout
        self._heads = bytearray(word.join((head_start, block)) * count)
        # what stands before each message, and its mark
        self._around_front = frame_start(size, DATA, END_STREAM), prefix
        self._fronts = bytearray((word.join(self._around_front) + ready.mark) * count)
        self._answers = bytearray(word.join(ready.around) * count)
        ends = accumulate(map(len, ready.around[:-1]))
        self._answer_places = tuple(end + number * len(word) for number, end in enumerate(ends))
        self._first_id = -1  # of the streams whose ids are written
        self._first_front = self._first_answer = self._other_answers = b""
        self.read_bytes = len(self._heads) + layout.size

    def is_for(self, data: bytes, ready: ReadyMessage) -> bool:
        """Whether it is what would be made of a read of this length and these first ids."""
        if self.read_bytes != len(data) or self.ready is not ready:
            return False
        return data.startswith(self.upper, STREAM_ID_AT)

    def expect(self, first_id: int) -> bool:
        """Write the ids of streams from ``first_id`` on into all that is compared and answered.

        False: their upper half is another, or not the same for all.
        """
        word = first_id.to_bytes(4, "big")
        if not word.startswith(self.upper) or not share_upper_half(first_id, self.count):
            return False
        halves = lower_halves(first_id, self.count)
        stamp(self._heads, len(self._heads) // self.count, (STREAM_ID_AT,), halves)
        stamp(self._fronts, len(self._fronts) // self.count, (STREAM_ID_AT,), halves)
        stamp(self._answers, len(self._answers) // self.count, self._answer_places, halves)
        self._first_id = first_id
        self._first_front = word.join(self._around_front)
        self._first_answer = word.join(self.ready.around)
        self._other_answers = bytes(memoryview(self._answers)[len(self._first_answer) :])
        return True

    def first_answer(self, data: bytes, first_id: int) -> bytes | None:
        """Return the first one's answer if ``data`` begins with all HEADERS, ids from there on.

        None: it does not, or the first message is not the ready one's, or see ``expect``.
        """
        if first_id != self._first_id and not self.expect(first_id):
            return None
        start = len(self._heads)
        if not data.startswith(self._heads) or not data.startswith(self._first_front, start):
            return None
        mark_at = start + FRAME_HEADER_BYTES + PREFIX_BYTES + self.ready.mark_at
        return self._first_answer if data.startswith(self.ready.mark, mark_at) else None

    def other_answers(self, data: bytes) -> bytes | None:
        """After ``first_answer``, return the others' if all that is left is messages for them."""
        found = b"".join(self._layout.unpack_from(data, len(self._heads)))
        return self._other_answers if found == self._fronts else None

    def without_first(self, data: bytes) -> bytes:
        """Return a read without its first request's frames."""
        head_bytes, heads_bytes = len(self._heads) // self.count, len(self._heads)
        frame_bytes = self._layout.size // self.count
        return data[head_bytes:heads_bytes] + data[heads_bytes + frame_bytes :]


class AlikeRequests:
    """What the requests of the last read were like. A connection has one."""

    __slots__ = ("_block", "_data_bytes", "_group", "_layouts", "_second_kind_at", "path")

    def __init__(self) -> None:
        self._block = b""
        self._data_bytes = 0  # of one request; 0 while nothing is known
        self._second_kind_at = 0  # where the second frame says what it is
        self._group: Group | None = None
        self._layouts: dict[tuple[int, int, int], struct.Struct] = {}
        self.path = b""

    def forget(self) -> None:
        """Know nothing until it is learned again."""
        self._data_bytes = 0
        self._group = None

    def learn(self, block: bytes, data_bytes: int, path: bytes) -> None:
        """Take a good request: its lasting header block, and the length of its one DATA frame."""
        if data_bytes == self._data_bytes and block == self._block:
            return
        self._block, self._data_bytes, self.path = block, data_bytes, path
        self._second_kind_at = FRAME_HEADER_BYTES + len(block) + KIND_AT
        self._group = None

    def group(self, data: bytes, ready: ReadyMessage) -> Group | None:
        """Return what ``data`` may be; None if its length and start tell that it is no group."""
        at = self._second_kind_at
        if data[at : at + 1] != _HEADERS_BYTE or not self._data_bytes:
            return None
        kept = self._group
        if kept is not None and kept.is_for(data, ready):
            return kept
        count, rest = divmod(
            len(data), 2 * FRAME_HEADER_BYTES + len(self._block) + self._data_bytes
        )
        if rest or count > GROUP_COUNT_MAX or self._data_bytes < ready.data_bytes_min:
            return None
        upper = data[STREAM_ID_AT : STREAM_ID_AT + 2]
        self._group = Group(count, upper, self._block, self._layout(count, ready.mark_at), ready)
        return self._group

    @property
    def last_group(self) -> Group:
        """What ``group`` has returned last."""
        assert self._group is not None
        return self._group

    def expect(self, first_id: int) -> None:
        """The next read may be as the last one, with streams from ``first_id`` on."""
        if self._group is not None:
            self._group.expect(first_id)

    def _layout(self, count: int, mark_at: int) -> struct.Struct:
        """Return how DATA frames are cut into what stands before their messages, and the marks."""
        key = self._data_bytes, count, mark_at
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= REMEMBERED_LAYOUTS:
                self._layouts.clear()
            before = FRAME_HEADER_BYTES + PREFIX_BYTES
            behind = self._data_bytes - PREFIX_BYTES - mark_at - 1
            found = self._layouts[key] = struct.Struct(f"{before}s{mark_at}xc{behind}x" * count)
        return found
