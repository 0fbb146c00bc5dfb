"""LoadGen's percentile and mean: the one rule by which final figures are read off sorted values.

Exact, unlike the histogram of the live view. Knows nothing of runs, statuses or units.

Order statistics of more values than fit in memory, read several times from where they lie.

Narrows an interval around each wanted value until its values are few. Same integers as sorting all
values at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

REPORTED_QUANTILES: Final = (0.50, 0.90, 0.95, 0.97, 0.99, 0.999)
"""The percentiles that LoadGen's summary shows (specification 3.2)."""


PIECE_COUNT: Final = 1 << 20
"""Rows that are computed with at once: bounds memory whatever the number of rows."""

STREAMED_COUNT: Final = 1 << 22
"""More values are narrowed in passes, which takes as long as one copy of them and no memory."""

_NONE: Final[Int64Array] = np.empty(0, dtype=np.int64)

ValuesIn = Callable[[slice], Int64Array]
"""What a piece of some rows contributes: any number of values, the same each time."""


def quantile_index(count: int, quantile: float) -> int:
    """Place of ``quantile`` among ``count`` ascending values: trunc(count * quantile).

    Zero-based, product in double, no interpolation (LoadGen, specification 3.2): p50 of 100 is the
    51st smallest, p99 of 100 the largest. ``count`` must be positive and ``quantile`` in [0, 1].
    """
    if count < 1:
        raise ValueError("count must be positive: nothing has a percentile")
    if not 0.0 <= quantile <= 1.0:
        raise ValueError(f"quantile {quantile} is outside [0, 1]")
    return min(int(count * quantile), count - 1)


def values_at(values: Int64Array, indexes: Sequence[int]) -> list[int]:
    """The values that would stand at ``indexes`` if ``values`` were sorted, without sorting all."""
    if not indexes:
        return []
    if len(values) > STREAMED_COUNT:
        chunks = _chunks(len(values), lambda piece: values[piece])
        return ranked_values(chunks, extent_of(chunks), indexes)
    placed = np.partition(values, sorted(set(indexes)))
    return [int(placed[index]) for index in indexes]


def truncated_mean(values: Int64Array) -> int:
    """Mean of int64 values, truncated towards zero as LoadGen's integer division does.

    Exact whatever the count.
    """
    total = sum(exact_sum(values[piece]) for piece in pieces_of(len(values)))
    return _truncated(total, len(values))


def _truncated(total: int, count: int) -> int:
    mean = abs(total) // count
    return mean if total >= 0 else -mean


def pieces_of(row_count: int) -> Iterator[slice]:
    """Slices that cover so many rows, each small enough for a few columns of it to be copied."""
    return (
        slice(start, min(start + PIECE_COUNT, row_count))
        for start in range(0, row_count, PIECE_COUNT)
    )


def _chunks(row_count: int, values_in: ValuesIn) -> Chunks:
    return lambda: (values_in(piece) for piece in pieces_of(row_count))


@dataclass(frozen=True, slots=True)
class Distribution:
    """Exact figures of one measured quantity in ns, by LoadGen's percentile and mean."""

    count: int
    min: int
    mean: int
    p50: int
    p90: int
    p95: int
    p97: int
    p99: int
    p99_9: int
    max: int

    @classmethod
    def of(cls, values: Int64Array) -> Distribution | None:
        """Distribution of ``values`` (any order, any integer type); None where there is none."""
        return cls.of_rows(len(values), lambda piece: values[piece].astype(np.int64, copy=False))

    @classmethod
    def of_rows(cls, row_count: int, values_in: ValuesIn) -> Distribution | None:
        """Distribution of what ``values_in`` gives for all pieces of so many rows.

        Many rows are read piece by piece, several times, and never held.
        """
        chunks = _chunks(row_count, values_in)
        if row_count <= STREAMED_COUNT:
            held = np.concatenate([_NONE, *chunks()])
            return cls._of(extent_of(lambda: [held]), partial(values_at, held))
        extent = extent_of(chunks)
        return cls._of(extent, partial(ranked_values, chunks, extent))

    @classmethod
    def _of(
        cls, extent: Extent, values_at_places: Callable[[Sequence[int]], list[int]]
    ) -> Distribution | None:
        if not extent.count:
            return None
        places = [quantile_index(extent.count, q) for q in REPORTED_QUANTILES]
        p50, p90, p95, p97, p99, p99_9 = values_at_places(places)
        mean = _truncated(extent.total, extent.count)
        return cls(extent.count, extent.low, mean, p50, p90, p95, p97, p99, p99_9, extent.high)


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
