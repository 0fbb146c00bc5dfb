"""LoadGen's random primitives over 32-bit Mersenne Twister words, bit for bit (GNU libstdc++).

Decides how words become integers, doubles, gaps and permutations; knows nothing of what is drawn.
Source of every rule: LoadGen 6.0.17, specification 1.3. Never numpy's own distributions, whose
algorithms may change between versions.

Gaps with a gamma distribution, from words and libm's logarithm and exponential alone.

Decides the rejection rule and how many words a candidate takes; knows no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.units import NS_PER_S

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
Uint32Array = npt.NDArray[np.uint32]

_WORD_MASK: Final = 0xFFFFFFFF
_LOW_WORD: Final = np.uint64(_WORD_MASK)
_WORD_BITS: Final = np.uint64(32)
_BELOW_ONE: Final = math.nextafter(1.0, 0.0)
# Swaps are drawn two at a time while i * (i + 1) fits in a word.
LARGEST_PAIRED_SHUFFLE: Final = 65535
# A block stays in the processor's second-level cache; the result does not depend on it.
_BLOCK_WORDS: Final = 1 << 17
_SMALLEST_BLOCK_WORDS: Final = 32
# numpy's vector log is within 4 units in the last place of libm's; 64 leaves a wide margin.
_LOG_RELATIVE_ERROR: Final = 64 * 2.0**-52


class RandomWords:
    """One mt19937 engine. Only the low 32 bits of ``seed`` count, as in LoadGen."""

    __slots__ = ("_source", "_unread")

    def __init__(self, seed: int) -> None:
        # Seeding with one integer and full-range 32-bit integers are the classic algorithm, raw
        # words included, and frozen by numpy's policy for RandomState.
        self._source = np.random.RandomState(seed & _WORD_MASK)
        self._unread: Uint32Array = np.empty(0, dtype=np.uint32)

    def words(self, count: int) -> Uint32Array:
        """Next ``count`` raw 32-bit words."""
        held = self._unread
        if count <= len(held):
            self._unread = held[count:]
            return held[:count]
        self._unread = held[:0]
        fresh = self._source.randint(0, 1 << 32, size=count - len(held), dtype=np.uint32)
        return np.concatenate((held, fresh)) if len(held) else fresh

    def _put_back(self, words: Uint32Array) -> None:
        self._unread = np.concatenate((words, self._unread)) if len(self._unread) else words

    def below(self, bound: int) -> int:
        """Uniform integer in [0, bound), 1 <= bound < 2**32; at least one word is consumed."""
        reject_under = ((1 << 32) - bound) % bound
        while True:
            product = int(self.words(1)[0]) * bound
            if product & _WORD_MASK >= reject_under:
                return product >> 32

    def below_many(self, bound: int, count: int) -> Int64Array:
        """``count`` draws of ``below(bound)``."""
        drawn = np.empty(count, dtype=np.int64)
        reject_under = np.uint64(((1 << 32) - bound) % bound)
        filled = 0
        while filled < count:
            # Never more words than draws still wanted: the engine must stand where LoadGen's does.
            words = self.words(min(count - filled, _BLOCK_WORDS))
            product = words.astype(np.uint64) * np.uint64(bound)
            accepted = (product & _LOW_WORD) >= reject_under
            kept = (product >> _WORD_BITS)[accepted]
            drawn[filled : filled + len(kept)] = kept
            filled += len(kept)
        return drawn

    def below_each(self, bounds: npt.NDArray[np.uint64]) -> Int64Array:
        """One draw of ``below(b)`` for each b of ``bounds``, in order."""
        drawn = np.empty(len(bounds), dtype=np.int64)
        rejects = ((np.uint64(1 << 32)) - bounds) % bounds
        filled, block = 0, _BLOCK_WORDS
        while filled < len(bounds):
            count = min(block, len(bounds) - filled)
            words = self.words(count)
            product = words.astype(np.uint64) * bounds[filled : filled + count]
            rejected = (product & _LOW_WORD) < rejects[filled : filled + count]
            first = int(rejected.argmax())
            if not rejected[first]:
                first = count
            drawn[filled : filled + first] = product[:first] >> _WORD_BITS
            filled += first
            if first < count:
                # The rejected word is lost; those after it belong to the same and later draws.
                self._put_back(words[first + 1 :])
                block = max(_SMALLEST_BLOCK_WORDS, 2 * first)
            else:
                block = min(_BLOCK_WORDS, 2 * block)
        return drawn

    def canonical_many(self, count: int) -> Float64Array:
        """``count`` doubles in [0, 1), two words each, low word first."""
        words = self.words(2 * count)
        joined = words[0::2] | (words[1::2].astype(np.uint64) << _WORD_BITS)
        # One rounding, from the 64-bit integer to double; dividing by 2**64 is exact.
        unit = joined.astype(np.float64) / 2.0**64
        return np.minimum(unit, _BELOW_ONE)

    def exponential_ns(self, rate: float, count: int) -> Int64Array:
        """``count`` gaps of a Poisson process of ``rate`` a second: trunc(1e9 * -ln(1 - u) / rate).

        Exact as with libm's log: numpy's faster log is kept only where its error cannot change
        the integer.
        """
        gaps = np.empty(count, dtype=np.int64)
        for start in range(0, count, _BLOCK_WORDS):
            size = min(_BLOCK_WORDS, count - start)
            survivors = 1.0 - self.canonical_many(size)
            gaps[start : start + size] = _exact_gaps(survivors, rate)
        return gaps

    def shuffle(self, values: list[int]) -> None:
        """Permute ``values`` in place as std::shuffle does."""
        apply_swaps(values, self.swaps(len(values)))

    def swaps(self, length: int, rounds: int = 1) -> Int64Array:
        """Partners of positions 1..length-1 of ``rounds`` shuffles, shape (rounds, length - 1).

        Also the way to advance the engine past shuffles whose result nobody reads.
        """
        if length < 2:
            return np.empty((rounds, 0), dtype=np.int64)
        if length > LARGEST_PAIRED_SHUFFLE:
            bounds = np.arange(2, length + 1, dtype=np.uint64)
            return self.below_each(np.tile(bounds, rounds)).reshape(rounds, len(bounds))
        return self._paired_swaps(length, rounds)

    def _paired_swaps(self, length: int, rounds: int) -> Int64Array:
        alone = 1 - length % 2  # an even length draws position 1 by itself
        lower = np.arange(2 + alone, length + 1, 2, dtype=np.uint64)
        bounds = lower * (lower + np.uint64(1))
        if alone:
            bounds = np.concatenate((np.array([2], dtype=np.uint64), bounds))
        drawn = self.below_each(np.tile(bounds, rounds)).reshape(rounds, len(bounds))
        partners = np.empty((rounds, length - 1), dtype=np.int64)
        if alone:
            partners[:, 0] = drawn[:, 0]
        pairs = drawn[:, alone:]
        divisor = (lower + np.uint64(1)).astype(np.int64)
        partners[:, alone::2] = pairs // divisor
        partners[:, alone + 1 :: 2] = pairs % divisor
        return partners


def apply_swaps(values: list[int], partners: Int64Array) -> None:
    """Swap position i + 1 with ``partners[..., i]``, in order; one round or several."""
    for round_partners in partners.reshape(-1, max(len(values) - 1, 0) or 1).tolist():
        for position, partner in enumerate(round_partners, 1):
            values[position], values[partner] = values[partner], values[position]


def exact_log(values: Float64Array) -> Float64Array:
    """libm's natural logarithm of each value, the same on every host with the same libm."""
    return np.fromiter(map(math.log, values.tolist()), dtype=np.float64, count=len(values))


def exact_exp(values: Float64Array) -> Float64Array:
    """libm's exponential of each value."""
    return np.fromiter(map(math.exp, values.tolist()), dtype=np.float64, count=len(values))


def _exact_gaps(survivors: Float64Array, rate: float) -> Int64Array:
    # Lengths are positive; -log(1) / rate is -0.0 and truncates to 0.
    scaled = NS_PER_S * (-np.log(survivors) / rate)
    nearest = np.rint(scaled)
    unsure = np.flatnonzero(np.abs(scaled - nearest) <= np.abs(scaled) * _LOG_RELATIVE_ERROR)
    if len(unsure):
        scaled[unsure] = NS_PER_S * (-exact_log(survivors[unsure]) / rate)
    return scaled.astype(np.int64)


_BLOCK_CANDIDATES: Final = 1 << 14


def gamma_gaps(words: RandomWords, shape: float, qps: float) -> Callable[[int], Int64Array]:
    """Gaps of mean 1/qps with a gamma distribution: coefficient of variation 1/sqrt(shape).

    Cheng's GB rejection (1977) for a shape above 1, and below 1 a draw of shape + 1 times
    u**(1/shape). A candidate always takes three canonical doubles, accepted or not.
    """
    scale_ns = NS_PER_S / (qps * shape)
    held: Float64Array = np.empty(0)

    def gaps(count: int) -> Int64Array:
        nonlocal held
        blocks = [held]
        while sum(map(len, blocks)) < count:
            blocks.append(_block(words, shape))
        drawn = np.concatenate(blocks)
        held = drawn[count:]
        return (drawn[:count] * scale_ns).astype(np.int64)

    return gaps


def _block(words: RandomWords, shape: float) -> Float64Array:
    boosted = shape + 1.0 if shape < 1.0 else shape
    unit = words.canonical_many(3 * _BLOCK_CANDIDATES).reshape(-1, 3)
    unit = unit[(unit > 0.0).all(axis=1)]
    first, second, third = unit[:, 0], unit[:, 1], unit[:, 2]
    rise = math.sqrt(2.0 * boosted - 1.0)
    logit = (exact_log(first) - exact_log(1.0 - first)) / rise
    value = boosted * exact_exp(logit)
    bound = boosted - math.log(4.0) + (boosted + rise) * logit - value
    accepted = bound >= exact_log(first * first * second)
    if shape >= 1.0:
        return value[accepted]
    return value[accepted] * exact_exp(exact_log(third[accepted]) / shape)
