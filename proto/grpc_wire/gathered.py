"""Many small unary requests as one piece: what each costs by itself is shared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from grpc_wire.frames import LARGEST_STREAM_ID
from grpc_wire.headers import HeaderBlock

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
    sizes = list(map(len, messages))
    size_sum = sum(sizes)
    if max(sizes) > most_bytes or size_sum > window:
        return None
    start, middles = headers.start, headers.middles
    pieces: list[bytes] = []
    for stream_id, size, message in zip(count(first_id, 2), sizes, messages, strict=False):
        word = stream_id.to_bytes(4, "big")
        middle = middles.get(size) or headers.middle(size)
        pieces += (start, word, middle, word, message)
    return b"".join(pieces), size_sum, next_id
