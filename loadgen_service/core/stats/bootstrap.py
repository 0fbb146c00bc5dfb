"""How sure a difference between two runs is: moving blocks of time, drawn again and again.

Queries near in time share queues and disturbances, so blocks of time are drawn and not queries
(Kuensch 1989; circular, Politis and Romano 1992, so that every slice weighs the same). Seeded by
MT19937 words: the same runs give the same interval anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from loadgen_service.core.plan.mt19937 import RandomWords

Float64Array = npt.NDArray[np.float64]
Word = Literal["faster", "slower", "not distinguishable"]

SLICE_COUNT: Final = 240
"""Slices of time of a run: what blocks are made of."""
BLOCK_SLICES: Final = 7
"""Slices in a block: the cube root of their number, rounded up; 34 blocks make a run."""
DRAW_COUNT: Final = 2000
CONFIDENCE: Final = 0.99
"""One in a hundred identical pairs is called different."""
SEED: Final = 20250306
_BLOCK_COUNT: Final = SLICE_COUNT / BLOCK_SLICES
_WIDENING: Final = math.sqrt(_BLOCK_COUNT / (_BLOCK_COUNT - 1))
"""A bootstrap over n blocks spreads by sqrt((n - 1) / n) too little."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``second / first - 1`` and the interval around it that holds the truth so confidently."""

    relative: float
    low: float
    high: float

    def word(self, more_is_better: bool) -> Word:
        """Faster or slower only where the whole interval says so."""
        if self.low <= 0.0 <= self.high:
            return "not distinguishable"
        return "faster" if (self.low > 0.0) == more_is_better else "slower"


def block_weights(seed: int) -> Float64Array:
    """How often each slice is drawn, shape (DRAW_COUNT + 1, SLICE_COUNT).

    The first row is the run itself, every slice once.
    """
    block_count = -(-SLICE_COUNT // BLOCK_SLICES)
    starts = RandomWords(seed).below_many(SLICE_COUNT, DRAW_COUNT * block_count)
    starts = starts.reshape(DRAW_COUNT, block_count)
    weights = np.zeros((DRAW_COUNT + 1, SLICE_COUNT))
    weights[0] = 1.0
    rows = np.arange(1, DRAW_COUNT + 1)
    for block in range(block_count):
        # the last block is cut, so that every draw has as many slices as the run
        length = min(BLOCK_SLICES, SLICE_COUNT - block * BLOCK_SLICES)
        for offset in range(length):
            np.add.at(weights, (rows, (starts[:, block] + offset) % SLICE_COUNT), 1.0)
    return weights


def difference(
    first: Float64Array, second: Float64Array, confidence: float = CONFIDENCE
) -> Difference | None:
    """From one figure a row of ``block_weights``, the run itself in the first row.

    None where a figure is infinite, zero or unknown in the runs or in too many of the draws.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(second) - np.log(first)
    if not np.isfinite(logs[0]):
        return None
    tail = (1.0 - confidence) / 2.0
    drawn = logs[1:][np.isfinite(logs[1:])]
    if len(drawn) < (1.0 - tail / 2.0) * (len(logs) - 1):
        return None
    ordered = np.sort(drawn)
    low, high = ordered[int(len(drawn) * tail)], ordered[-1 - int(len(drawn) * tail)]
    point = float(logs[0])
    # the run's own figure stands in the middle of what is widened
    wide = [point + _WIDENING * (float(edge) - point) for edge in (low, high)]
    return Difference(math.expm1(point), math.expm1(wide[0]), math.expm1(wide[1]))
