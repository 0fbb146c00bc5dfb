"""Order statistics of more values than fit in memory, read several times from where they lie.

Narrows an interval around each wanted value until its values are few. Same integers as sorting all
values at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Chunks = Callable[[], Iterable[Int64Array]]
"""Gives the values from the beginning, in chunks of any size; called once a pass."""

BINS: Final = 1 << 12
GATHERED: Final = 1 << 20
"""Values of one interval that are held and sorted, 8 MiB; more are narrowed once more."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What one pass tells of values: the least, the largest, how many, and their exact sum."""

    low: int
    high: int
    count: int
    total: int


@dataclass(slots=True)
class _Interval:
    """Where the value of ``rank`` lies: [low, high), with ``below`` values under ``low``."""

    rank: int
    low: int
    high: int
    below: int
    count: int
    gathered: list[Int64Array] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Of one bin."""
        return -(-(self.high - self.low) // BINS)

    @property
    def is_found(self) -> bool:
        return self.high - self.low <= 1 or self.count <= GATHERED


def extent_of(chunks: Chunks) -> Extent:
    """One pass. Without values ``low`` is above ``high``."""
    low, high, count, total = np.iinfo(np.int64).max, np.iinfo(np.int64).min, 0, 0
    for chunk in chunks():
        if len(chunk):
            low, high = min(low, int(chunk.min())), max(high, int(chunk.max()))
            count += len(chunk)
            total += exact_sum(chunk)
    return Extent(low, high, count, total)


def exact_sum(values: Int64Array) -> int:
    """The sum of up to 2**31 values, which int64 need not hold: high and low halves apart."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def ranked_values(chunks: Chunks, extent: Extent, ranks: Sequence[int]) -> list[int]:
    """The values at the zero-based ``ranks`` if all were sorted. Raises ValueError without values.

    Passes over the data: two or three for latencies of any spread below 2**36 ns, in bounded memory
    whatever their number.
    """
    if not extent.count:
        raise ValueError("no values")
    wanted = [_Interval(rank, extent.low, extent.high + 1, 0, extent.count) for rank in ranks]
    while open_ones := [one for one in wanted if not one.is_found]:
        _narrow(chunks, open_ones)
    _gather(chunks, [one for one in wanted if one.high - one.low > 1])
    return [_value(one) for one in wanted]


def _narrow(chunks: Chunks, intervals: list[_Interval]) -> None:
    """Put each interval's place into one of its bins; the same interval is counted once."""
    bins = {(one.low, one.high): np.zeros(BINS, np.int64) for one in intervals}
    widths = {(one.low, one.high): one.width for one in intervals}
    for chunk in chunks():
        for (low, high), counts in bins.items():
            # unsigned, since the spread of int64 values may be more than int64 holds
            above = _inside(chunk, low, high).view(np.uint64) - np.uint64(low % (1 << 64))
            places = (above // np.uint64(widths[low, high])).astype(np.int64)
            counts += np.bincount(places, minlength=BINS)
    for one in intervals:
        counts, width = bins[one.low, one.high], one.width
        upto = np.cumsum(counts)
        place = int(np.searchsorted(upto, one.rank - one.below, side="right"))
        one.below += int(upto[place] - counts[place])
        one.count = int(counts[place])
        low = one.low + place * width
        one.low, one.high = low, min(one.high, low + width)


def _inside(chunk: Int64Array, low: int, high: int) -> Int64Array:
    return chunk[(chunk >= low) & (chunk < high)]


def _gather(chunks: Chunks, intervals: list[_Interval]) -> None:
    if not intervals:
        return
    for chunk in chunks():
        for one in intervals:
            one.gathered.append(_inside(chunk, one.low, one.high))


def _value(one: _Interval) -> int:
    if one.high - one.low <= 1:
        return one.low
    values = np.concatenate(one.gathered)
    place = one.rank - one.below
    return int(np.partition(values, place)[place])
