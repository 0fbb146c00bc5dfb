"""LoadGen's early stopping: how many queries must be seen before a percentile is trusted.

Exact integers of the specification's 3.5, for any count in microseconds to milliseconds: the
binomial is summed from its largest term, not searched for by counting up. Knows counts and a
quantile, never a latency.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

RISK: Final = 1 - 0.99
"""One minus LoadGen's confidence, in double as LoadGen has it: 0.010000000000000009."""

_TAIL_TERM: Final = 1e-17
"""Terms of the sum below this share of the largest one cannot change a double."""

_STIRLING_EXACT_BELOW: Final = 16
_LOG_SQRT_2PI: Final = 0.9189385332046727


def min_total_count(overlatency_count: int, quantile: float) -> int:
    """Fewest queries with ``overlatency_count`` late ones that pass: H(t, p) + t of the spec.

    459 for none late at 0.99, 64 for one late at 0.90.
    """
    _check(quantile)
    low = overlatency_count  # too few for certain: all of them late
    high = max(1, 2 * low)
    while not _is_enough(high, overlatency_count, quantile):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _is_enough(middle, overlatency_count, quantile):
            high = middle
        else:
            low = middle
    return high


def max_overlatency_count(query_count: int, quantile: float) -> int:
    """Most late queries that ``query_count`` still affords; -1 if not even none late pass."""
    _check(quantile)
    if not _is_enough(query_count, 0, quantile):
        return -1
    low, high = 0, query_count
    while high - low > 1:
        middle = (low + high) // 2
        if _is_enough(query_count, middle, quantile):
            low = middle
        else:
            high = middle
    return low


def estimate_index(query_count: int, quantile: float) -> int | None:
    """Place, among ascending latencies, of the early-stopping estimate; None with too few queries.

    With t the largest count of at least 1 that ``query_count`` affords, the place is
    query_count - t: the t - 1 largest latencies are discarded (SingleStream and MultiStream).
    """
    affordable = max_overlatency_count(query_count, quantile)
    return query_count - affordable if affordable >= 1 else None


def _check(quantile: float) -> None:
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile {quantile} is outside (0, 1)")


def _is_enough(total: int, late: int, quantile: float) -> bool:
    """Whether so few late ones of ``total`` would be an accident of probability below RISK."""
    return late < total and binomial_cdf(late, total, 1 - quantile, quantile) < RISK


def binomial_cdf(successes: int, trials: int, chance: float, miss: float) -> float:
    """P[at most ``successes`` of ``trials``], each with ``chance``; ``miss`` is 1 - chance.

    Both are given because a caller often has one of them exactly.
    """
    if successes >= trials:
        return 1.0
    if successes > trials * chance + 1:
        return 1.0 - _sum_from(trials - successes - 1, trials, miss, chance)
    return _sum_from(successes, trials, chance, miss)


def _sum_from(successes: int, trials: int, chance: float, miss: float) -> float:
    """Sum of the lower tail, largest term first, in blocks until terms no longer count."""
    largest = math.exp(_log_binomial_term(successes, trials, chance, miss))
    total, term, at = 1.0, 1.0, successes
    while at > 0 and term > _TAIL_TERM:
        x = np.arange(at, max(at - 4096, 0), -1, dtype=np.float64)
        terms = term * np.cumprod(x * miss / ((trials - x + 1) * chance))
        total += float(terms.sum())
        term, at = float(terms[-1]), at - len(x)
    return min(1.0, largest * total)


def _log_binomial_term(x: int, n: int, chance: float, miss: float) -> float:
    """Log of the binomial probability of ``x`` in ``n`` by Loader's saddle point: no cancellation.

    C. Loader, "Fast and accurate computation of binomial probabilities", 2000.
    """
    if x == 0:
        return n * (math.log(miss) if chance > 0.1 else math.log1p(-chance))
    if x == n:
        return n * math.log(chance)
    error = _stirling_error(n) - _stirling_error(x) - _stirling_error(n - x)
    deviance = _deviance(x, n * chance) + _deviance(n - x, n * miss)
    return error - deviance + 0.5 * math.log(n / (2 * math.pi * x * (n - x)))


def _stirling_error(n: int) -> float:
    """Log n! less Stirling's approximation of it."""
    if n < _STIRLING_EXACT_BELOW:
        return math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - _LOG_SQRT_2PI
    s = 1.0 / (n * n)
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - s / 1188) * s) * s) * s) / n


def _deviance(x: float, mean: float) -> float:
    """x log(x / mean) + mean - x, by a series where x is close to ``mean``."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total, term, odd = (x - mean) * v, 2 * x * v, 1
    while True:
        term *= v * v
        odd += 2
        grown = total + term / odd
        if grown == total:
            return grown
        total = grown
