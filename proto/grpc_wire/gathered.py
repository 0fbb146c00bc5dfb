"""Many small unary requests as one piece: what each costs by itself is shared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from grpc_wire.frames import LARGEST_STREAM_ID
from grpc_wire.headers import HeaderBlock
from grpc_wire.stream_ids import lower_halves, share_upper_half, stamp, upper_half

_ONLY_BYTES: Final = {bytes}


def joined_requests(
    first_id: int, headers: HeaderBlock, messages: Sequence[Any], most_bytes: int, window: int
) -> tuple[bytes, int, int] | None:
    """Return whole requests, the bytes of their DATA, and the stream id after theirs.

    They are on streams from ``first_id`` on. None where there is no message, one is not in bytes or
    above ``most_bytes``, all do not fit the ``window``, or the stream ids run out.
    """
    next_id = first_id + 2 * len(messages)
    if set(map(type, messages)) != _ONLY_BYTES or next_id > LARGEST_STREAM_ID:
        return None
    sizes = set(map(len, messages))
    is_even = len(sizes) == 1 and share_upper_half(first_id, len(messages))
    size = max(sizes)
    size_sum = size * len(messages) if is_even else sum(map(len, messages))
    if size > most_bytes or size_sum > window:
        return None
    if is_even:
        return _stamped(first_id, headers, messages, size), size_sum, next_id
    return _pieced(first_id, headers, messages), size_sum, next_id


def _stamped(first_id: int, headers: HeaderBlock, messages: Sequence[bytes], size: int) -> bytes:
    """Requests as long as each other: all with the first id's upper half, then the lower halves
    written into them, a byte of all at a time."""
    start = headers.start
    word = upper_half(first_id)
    before = b"".join((start, word, headers.middles.get(size) or headers.middle(size), word))
    content = bytearray(before)
    content += before.join(messages)
    places = len(start), len(before) - len(word)
    stamp(content, len(before) + size, places, lower_halves(first_id, len(messages)))
    return bytes(content)


def _pieced(first_id: int, headers: HeaderBlock, messages: Sequence[bytes]) -> bytes:
    """Requests of any lengths."""
    start, middles = headers.start, headers.middles
    pieces: list[bytes] = []
    for stream_id, message in zip(count(first_id, 2), messages, strict=False):
        word = stream_id.to_bytes(4, "big")
        middle = middles.get(len(message)) or headers.middle(len(message))
        pieces += (start, word, middle, word, message)
    return b"".join(pieces)
