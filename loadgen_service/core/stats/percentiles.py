"""LoadGen's percentile and mean: the one rule by which final figures are read off sorted values.

Exact, unlike the histogram of the live view. Knows nothing of runs, statuses or units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.stats.out_of_core_percentiles import (
    Chunks,
    Extent,
    exact_sum,
    extent_of,
    ranked_values,
)

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
