"""Exact percentiles of more values than fit in memory, read several times from where they lie.

Narrows an interval around each wanted order statistic until its values are few. Same integers as
``percentiles`` on all values at once (LoadGen's rule: the sorted value at trunc(n * q)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.percentiles import quantile_index

Int64Array = npt.NDArray[np.int64]
Chunks = Callable[[], Iterable[Int64Array]]
"""Gives the values from the beginning, in chunks of any size; called once a pass."""

BINS: Final = 1 << 12
GATHERED: Final = 1 << 20
"""Values of one interval that are held and sorted, 8 MiB; more are narrowed once more."""


@dataclass(slots=True)
class _Interval:
    """Where the value of ``rank`` lies: [low, high), with ``below`` values under ``low``."""

    rank: int
    low: int
    high: int
    below: int
    count: int
    bins: Int64Array = field(default_factory=lambda: np.zeros(BINS, np.int64))
    gathered: list[Int64Array] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Of one bin."""
        return -(-(self.high - self.low) // BINS)

    @property
    def is_found(self) -> bool:
        return self.high - self.low <= 1 or self.count <= GATHERED


def exact_percentiles(chunks: Chunks, quantiles: Sequence[float]) -> list[int]:
    """The value at each quantile (0 to 1). Raises ValueError where there are no values.

    Passes over the data: three for latencies of any spread below 2**36 ns, in bounded memory.
    """
    low, high, count = _bounds(chunks)
    if not count:
        raise ValueError("no values")
    wanted = [_Interval(quantile_index(count, q), low, high + 1, 0, count) for q in quantiles]
    while open_ones := [one for one in wanted if not one.is_found]:
        _narrow(chunks, open_ones)
    _gather(chunks, [one for one in wanted if one.high - one.low > 1])
    return [_value(one) for one in wanted]


def _bounds(chunks: Chunks) -> tuple[int, int, int]:
    low, high, count = np.iinfo(np.int64).max, np.iinfo(np.int64).min, 0
    for chunk in chunks():
        if len(chunk):
            low, high = min(low, int(chunk.min())), max(high, int(chunk.max()))
            count += len(chunk)
    return low, high, count


def _narrow(chunks: Chunks, intervals: list[_Interval]) -> None:
    for one in intervals:
        one.bins = np.zeros(BINS, np.int64)
    for chunk in chunks():
        for one in intervals:
            inside = _inside(chunk, one)
            one.bins += np.bincount((inside - one.low) // one.width, minlength=BINS)
    for one in intervals:
        upto = np.cumsum(one.bins)
        place = int(np.searchsorted(upto, one.rank - one.below, side="right"))
        one.below += int(upto[place] - one.bins[place])
        one.count = int(one.bins[place])
        low, width = one.low + place * one.width, one.width
        one.low, one.high = low, min(one.high, low + width)


def _inside(chunk: Int64Array, one: _Interval) -> Int64Array:
    return chunk[(chunk >= one.low) & (chunk < one.high)]


def _gather(chunks: Chunks, intervals: list[_Interval]) -> None:
    if not intervals:
        return
    for chunk in chunks():
        for one in intervals:
            one.gathered.append(_inside(chunk, one))


def _value(one: _Interval) -> int:
    if one.high - one.low <= 1:
        return one.low
    values = np.concatenate(one.gathered)
    place = one.rank - one.below
    return int(np.partition(values, place)[place])
