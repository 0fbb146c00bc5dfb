"""LoadGen's percentile and mean: the one rule by which final figures are read off sorted values.

Exact, unlike the histogram of the live view. Knows nothing of runs, statuses or units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

REPORTED_QUANTILES: Final = (0.50, 0.90, 0.95, 0.97, 0.99, 0.999)
"""The percentiles that LoadGen's summary shows (specification 3.2)."""


_MEAN_PIECE_COUNT: Final = 1 << 20
"""Bounds the memory of a mean, whatever the number of values."""


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
    placed = np.partition(values, sorted(set(indexes)))
    return [int(placed[index]) for index in indexes]


def truncated_mean(values: Int64Array) -> int:
    """Mean of int64 values, truncated towards zero as LoadGen's integer division does.

    The sum is exact whatever the count: high and low halves are added apart.
    """
    total = 0
    for start in range(0, len(values), _MEAN_PIECE_COUNT):
        piece = values[start : start + _MEAN_PIECE_COUNT]
        total += (int((piece >> 32).sum()) << 32) + int((piece & 0xFFFFFFFF).sum())
    mean = abs(total) // len(values)
    return mean if total >= 0 else -mean


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
        count = len(values)
        if count == 0:
            return None
        wide = values.astype(np.int64, copy=False)
        places = [quantile_index(count, q) for q in REPORTED_QUANTILES]
        low, p50, p90, p95, p97, p99, p99_9, high = values_at(wide, [0, *places, count - 1])
        mean = truncated_mean(wide)
        return cls(count, low, mean, p50, p90, p95, p97, p99, p99_9, high)
