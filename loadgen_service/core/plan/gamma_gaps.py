"""Gaps with a gamma distribution, from words and libm's logarithm and exponential alone.

Decides the rejection rule and how many words a candidate takes; knows no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from loadgen_service.core.plan.mt19937 import (
    Float64Array,
    Int64Array,
    RandomWords,
    exact_exp,
    exact_log,
)
from loadgen_service.core.units import NS_PER_S

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
