"""The ids of streams that a client opens one after the other, a byte of all of them at a time.

Frames that differ in their stream id alone are made and compared as one piece so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_BYTE_BITS: Final = 8
_HALF_BITS: Final = 16
_LOW_IDS: Final = range(1, 1 << _HALF_BITS, 2)
_THIRD_BYTES: Final = bytes(number >> 8 for number in _LOW_IDS)
_FOURTH_BYTES: Final = bytes(number & 255 for number in _LOW_IDS)

LowerHalves = tuple[bytes, bytes]


def share_upper_half(first_id: int, count: int) -> bool:
    """Whether ``count`` ids from an odd one on differ in their lower two bytes alone."""
    return first_id >> _HALF_BITS == (first_id + 2 * count - 2) >> _HALF_BITS


def lower_halves(first_id: int, count: int) -> LowerHalves:
    """Return the third bytes and the fourth bytes of ids that ``share_upper_half``."""
    first = first_id % (1 << _HALF_BITS) >> 1
    return _THIRD_BYTES[first : first + count], _FOURTH_BYTES[first : first + count]


def split_ids(first_id: int, count: int) -> tuple[bytes, bytes, bytes]:
    """Return what ids that ``share_upper_half`` have in common, and the bytes in which they differ.

    That is four bytes, zero where they differ; the third bytes, none if they are in common, too;
    the fourth bytes.
    """
    first = first_id % (1 << _HALF_BITS) >> 1
    fourth = _FOURTH_BYTES[first : first + count]
    if first_id >> _BYTE_BITS == (first_id + 2 * count - 2) >> _BYTE_BITS:
        return (first_id >> _BYTE_BITS << _BYTE_BITS).to_bytes(4, "big"), b"", fourth
    word = (first_id >> _HALF_BITS << _HALF_BITS).to_bytes(4, "big")
    return word, _THIRD_BYTES[first : first + count], fourth


def stamp(content: bytearray, step: int, places: Iterable[int], halves: LowerHalves) -> None:
    """Write the lower halves of stream ids into frames that follow each other every ``step`` bytes.

    ``places``: where, in the first of them, stream ids stand.
    """
    third, fourth = halves
    for place in places:
        content[place + 2 :: step] = third
        content[place + 3 :: step] = fourth
