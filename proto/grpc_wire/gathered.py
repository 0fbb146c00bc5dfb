"""Many small unary requests as one piece: what each costs by itself is shared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from grpc_wire.frames import LARGEST_STREAM_ID
from grpc_wire.headers import HeaderBlock
from grpc_wire.stream_ids import share_upper_half, split_ids
from grpc_wire.windows import Piece

_ONLY_BYTES: Final = {bytes}


def joined_requests(
    first_id: int,
    headers: HeaderBlock,
    messages: Sequence[Any],
    most_bytes: int,
    window: int,
    each_bytes: int,
) -> tuple[Piece, int, int] | None:
    """Return whole requests, the bytes of their DATA, and the stream id after theirs.

    They are on streams from ``first_id`` on. None where there is no message, one is not in bytes or
    above ``most_bytes``, all do not fit the ``window``, or the stream ids run out. ``each_bytes``:
    the length of every message, if the caller knows that all are bytes and so long; 0: looked at
    here.
    """
    count = len(messages)
    next_id = first_id + 2 * count
    size = each_bytes if count else 0
    size_sum = size * count
    if not size:
        if set(map(type, messages)) != _ONLY_BYTES:
            return None
        sizes = list(map(len, messages))
        size, size_sum = max(sizes), sum(sizes)
    if size > most_bytes or size_sum > window or next_id > LARGEST_STREAM_ID:
        return None
    if size * count == size_sum and share_upper_half(first_id, count):
        return _stamped(first_id, headers, messages, size), size_sum, next_id
    return _pieced(first_id, headers, messages), size_sum, next_id


def _stamped(
    first_id: int, headers: HeaderBlock, messages: Sequence[bytes], size: int
) -> memoryview:
    """Requests as long as each other: all with what their ids have in common, and then the rest
    written into them, a byte of all at a time."""
    start = headers.start
    word, third, fourth = split_ids(first_id, len(messages))
    before = word.join((start, headers.middles.get(size) or headers.middle(size), b""))
    content = bytearray(before)
    content += before.join(messages)
    step, one, other = len(before) + size, len(start) + len(word) - 1, len(before) - 1
    content[one::step] = content[other::step] = fourth
    if third:
        content[one - 1 :: step] = content[other - 1 :: step] = third
    return memoryview(content)


def _pieced(first_id: int, headers: HeaderBlock, messages: Sequence[bytes]) -> bytes:
    """Requests of any lengths."""
    start, middles = headers.start, headers.middles
    pieces: list[bytes] = []
    for stream_id, message in zip(count(first_id, 2), messages, strict=False):
        word = stream_id.to_bytes(4, "big")
        middle = middles.get(len(message)) or headers.middle(len(message))
        pieces += (start, word, middle, word, message)
    return b"".join(pieces)
