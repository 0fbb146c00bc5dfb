"""The ids of streams that a client opens one after the other, a byte of all of them at a time.

Frames that differ in their stream id alone are made and compared as one piece so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_HALF_BITS: Final = 16
_LOW_IDS: Final = range(1, 1 << _HALF_BITS, 2)
_THIRD_BYTES: Final = bytes(number >> 8 for number in _LOW_IDS)
_FOURTH_BYTES: Final = bytes(number & 255 for number in _LOW_IDS)

LowerHalves = tuple[bytes, bytes]


def share_upper_half(first_id: int, count: int) -> bool:
    """Whether ``count`` ids from an odd one on differ in their lower two bytes alone."""
    return first_id >> _HALF_BITS == (first_id + 2 * count - 2) >> _HALF_BITS


def upper_half(stream_id: int) -> bytes:
    """Return a stream id's four bytes with nothing in the lower two."""
    return (stream_id >> _HALF_BITS << _HALF_BITS).to_bytes(4, "big")


def lower_halves(first_id: int, count: int) -> LowerHalves:
    """Return the third bytes and the fourth bytes of ids that ``share_upper_half``."""
    first = first_id % (1 << _HALF_BITS) >> 1
    return _THIRD_BYTES[first : first + count], _FOURTH_BYTES[first : first + count]


def stamp(content: bytearray, step: int, places: Iterable[int], halves: LowerHalves) -> None:
    """Write the lower halves of stream ids into frames that follow each other every ``step`` bytes.

    ``places``: where, in the first of them, stream ids stand.
    """
    third, fourth = halves
    for place in places:
        content[place + 2 :: step] = third
        content[place + 3 :: step] = fourth
