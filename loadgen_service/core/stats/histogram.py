"""Log-linear counts of nanoseconds: mergeable and small, for live figures and Prometheus.

Approximate by design: every value it gives lies within ``RELATIVE_ERROR`` of a recorded one. Final
figures never come from here but from exact percentiles.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen_service.core.stats.percentiles import Int64Array, quantile_index

SUB_BITS: Final = 7
"""Each octave is cut into 2**SUB_BITS equal buckets; values below that are counted exactly."""

_INT64_MAX: Final = (1 << 63) - 1
_MANTISSA_BITS: Final = 52
_SIGNIFICANT_BITS: Final = _MANTISSA_BITS + 1
_BELOW_A_DOUBLE: Final = (1 << (63 - _SIGNIFICANT_BITS)) - 1
_EXPONENT_BIAS: Final = 1023
_SUB_COUNT: Final = 1 << SUB_BITS
_BUCKETS_BEFORE: Final = (_EXPONENT_BIAS + SUB_BITS - 1) << SUB_BITS
"""What a double's exponent and first SUB_BITS say of 2**SUB_BITS, less that value's own bucket."""

BUCKET_COUNT: Final = (63 - SUB_BITS + 1) * _SUB_COUNT
RELATIVE_ERROR: Final = 2.0 ** -(SUB_BITS + 1)
"""Half a bucket's width over its smallest value: 0.4 %."""

_HEADER: Final = struct.Struct("<4sBQQqqI")
_MAGIC: Final = b"LLH1"


class Bucketed(NamedTuple):
    """Values by bucket, from bucket 0 on; ``low`` to ``high`` and ``total`` with negatives as 0."""

    buckets: Int64Array
    size: int
    clamped: int
    low: int
    high: int
    total: int


class Histogram:
    """Counts of int64 values from 0 up; negative ones count as 0 and are told in ``clamped``."""

    __slots__ = ("_buckets", "clamped", "count", "max", "min", "total")

    def __init__(self) -> None:
        self._buckets: Int64Array = np.zeros(BUCKET_COUNT, dtype=np.int64)
        self.count = 0
        self.clamped = 0
        self.total = 0
        self.min = 0
        self.max = 0

    def record_many(self, values: npt.NDArray[np.integer]) -> None:
        """Count every value (ns). O(values + buckets); call it once a batch, not once a value."""
        self.take(bucketed(values))

    def take(self, values: Bucketed) -> None:
        """Count values that have found their buckets, which several histograms may share."""
        if values.size == 0:
            return
        self._buckets[: len(values.buckets)] += values.buckets
        self._extend(values.low, values.high)
        self.total += values.total
        self.count += values.size
        self.clamped += values.clamped

    def merge(self, other: Histogram) -> None:
        """Add the counts of ``other``: any split of the values, merged, equals the whole."""
        if other.count == 0:
            return
        self._buckets += other._buckets
        self._extend(other.min, other.max)
        self.total += other.total
        self.count += other.count
        self.clamped += other.clamped

    def value_at_quantile(self, quantile: float) -> int:
        """Value (ns) at LoadGen's place trunc(count * quantile), to RELATIVE_ERROR; 0 if empty."""
        return self.values_at_quantiles((quantile,))[0]

    def values_at_quantiles(self, quantiles: Sequence[float]) -> list[int]:
        """``value_at_quantile`` of each, in one pass over the buckets."""
        if self.count == 0:
            return [0] * len(quantiles)
        running = np.cumsum(self._buckets)
        return [self._value_at(quantile_index(self.count, one), running) for one in quantiles]

    def _value_at(self, place: int, running: Int64Array) -> int:
        if place == self.count - 1:
            return self.max
        low, width = _bucket_bounds(int(np.searchsorted(running, place, side="right")))
        return min(max(low + width // 2, self.min), self.max)

    def mean(self) -> float:
        """Exact mean (ns) of the recorded values; 0 if empty."""
        return self.total / self.count if self.count else 0.0

    def cumulative_counts(self, bounds_ns: Sequence[int]) -> list[int]:
        """How many values are at most each bound, as a Prometheus histogram wants them.

        A bucket that a bound cuts counts wholly as below it: off by one bucket's width at most.
        """
        running = np.cumsum(self._buckets)
        bounds = np.asarray(bounds_ns, dtype=np.int64)
        counts = running[bucket_indexes(np.maximum(bounds, 0))]
        return [int(c) if b >= 0 else 0 for c, b in zip(counts, bounds, strict=True)]

    def since(self, earlier: Histogram) -> Histogram:
        """What was recorded after ``earlier``, an older copy of this one.

        ``min`` and ``max`` are bounds of buckets here: no histogram remembers when its extremes
        came. Raises ValueError where ``earlier`` is no older copy.
        """
        made = Histogram()
        made._buckets = self._buckets - earlier._buckets
        if made._buckets.min() < 0:
            raise ValueError("not an older copy of this histogram")
        made.count = self.count - earlier.count
        made.total = self.total - earlier.total
        made.clamped = self.clamped - earlier.clamped
        used = np.flatnonzero(made._buckets)
        if len(used):
            made.min = _bucket_bounds(int(used[0]))[0]
            low, width = _bucket_bounds(int(used[-1]))
            made.max = min(low + width - 1, self.max)
        return made

    def copy(self) -> Histogram:
        """An equal one that later values do not change."""
        made = Histogram()
        made.merge(self)
        return made

    def to_bytes(self) -> bytes:
        """The counts that are not zero, little-endian, under a versioned magic."""
        used = np.flatnonzero(self._buckets)
        total_high, total_low = self.total >> 64, self.total & (2**64 - 1)
        header = _HEADER.pack(
            _MAGIC, total_high, self.count, total_low, self.min, self.max, len(used)
        )
        tail = struct.pack("<Q", self.clamped)
        return header + tail + used.astype("<u2").tobytes() + self._buckets[used].tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Histogram:
        """The inverse of ``to_bytes``. Raises ValueError on anything else."""
        start = _HEADER.size + 8
        if len(data) < start or data[:4] != _MAGIC:
            raise ValueError("not a histogram of this version")
        _, total_high, count, total_low, low, high, used = _HEADER.unpack_from(data)
        if len(data) != start + used * 10:
            raise ValueError("a histogram cut short")
        made = cls()
        indexes = np.frombuffer(data, "<u2", used, start)
        if used and int(indexes.max()) >= BUCKET_COUNT:
            raise ValueError("a histogram with a bucket out of range")
        made._buckets[indexes] = np.frombuffer(data, "<i8", used, start + 2 * used)
        made.count, made.total = count, (total_high << 64) + total_low
        made.min, made.max = low, high
        (made.clamped,) = struct.unpack_from("<Q", data, _HEADER.size)
        return made

    def _extend(self, low: int, high: int) -> None:
        self.min = min(self.min, low) if self.count else low
        self.max = max(self.max, high)


def exact_bounds(first_octave: int, last_octave: int, steps: int) -> tuple[int, ...]:
    """Bounds (ns) that no bucket straddles, so that ``cumulative_counts`` of them is exact.

    ``steps`` a power of two up to 2**SUB_BITS: so many a doubling, from ``2**first_octave - 1`` to
    ``2**last_octave - 1``. Each is the largest value of its bucket.
    """
    octaves, parts = range(first_octave, last_octave), range(steps, 2 * steps)
    bounds = [(part << octave) // steps - 1 for octave in octaves for part in parts]
    return (*bounds, (1 << last_octave) - 1)


def bucketed(values: npt.NDArray[np.integer]) -> Bucketed:
    """Each value (ns) in its bucket, in a handful of passes over them all."""
    if len(values) == 0:
        return Bucketed(np.zeros(0, np.int64), 0, 0, 0, 0, 0)
    wide = values.astype(np.int64, copy=False)
    low, high, clamped = int(wide.min()), int(wide.max()), 0
    if low < 0:
        clamped = int(np.count_nonzero(wide < 0))
        low, high, wide = 0, max(high, 0), np.maximum(wide, 0)
    counts = np.bincount(bucket_indexes(wide, low, high))
    return Bucketed(counts, len(wide), clamped, low, high, _exact_sum(wide, high))


def _exact_sum(values: Int64Array, high: int) -> int:
    """Sum of values of at most ``high``; in two halves where int64 might not hold it."""
    if len(values) * high < 1 << 62:
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def bucket_indexes(values: Int64Array, low: int = 0, high: int = _INT64_MAX) -> Int64Array:
    """Bucket of each value, ``low`` (at least 0) to ``high``."""
    whole = values
    if high >> _SIGNIFICANT_BITS:
        # A double would round these, at times into the next bucket. Their last bits tell no bucket.
        whole = np.where(values >> _SIGNIFICANT_BITS, values & ~_BELOW_A_DOUBLE, values)
    # The exponent of a double and the first bits after it are the octave and the bucket in it.
    linear: Int64Array = whole.astype(np.float64).view(np.int64) >> (_MANTISSA_BITS - SUB_BITS)
    linear -= _BUCKETS_BEFORE
    return linear if low >= _SUB_COUNT else np.where(values < _SUB_COUNT, values, linear)


def _bucket_bounds(index: int) -> tuple[int, int]:
    """Smallest value of a bucket and its width."""
    if index < 2 * _SUB_COUNT:
        return index, 1
    shift = index // _SUB_COUNT - 1
    return (index - shift * _SUB_COUNT) << shift, 1 << shift
