"""Rates that vary over a series: ramps and steps, and the instants that follow from them.

Decides when the expected number of queries reaches a value; draws nothing. Only IEEE arithmetic and
square roots, so every host computes the same instants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen_service.core.plan.mt19937 import Int64Array
from loadgen_service.core.units import NS_PER_MS, NS_PER_S
from loadgen_service.errors import SettingsError

# Rates are integrated in thousand-millionths of a query, so that sums are exact.
PARTS_PER_QUERY: Final = 1e9
_LONGEST_STEP_MS: Final = 1e12
_NEVER_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RatePiece:
    """From ``start_ns`` on the rate is ``start_qps + slope * (t - start)``, slope in qps a second.

    ``start_parts``: queries expected before it, in thousand-millionths.
    """

    start_ns: int
    start_qps: float
    slope: float
    start_parts: float


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate made of pieces; the last one goes on for ever. ``end_ns``: where it begins."""

    pieces: tuple[RatePiece, ...]
    end_ns: int

    def instants(self, parts: Int64Array) -> Int64Array:
        """When that many thousand-millionths of a query are due: the inverse of the integral."""
        starts = np.array([piece.start_parts for piece in self.pieces])
        # side="right": past a pause the later piece answers, so nothing is due inside it.
        which = np.searchsorted(starts, parts, side="right") - 1
        offsets = np.array([piece.start_ns for piece in self.pieces])[which]
        rates = np.array([piece.start_qps for piece in self.pieces])[which]
        slopes = np.array([piece.slope for piece in self.pieces])[which]
        queries = (parts - starts[which]) / PARTS_PER_QUERY
        # The root of rate*t + slope*t*t/2 = queries that stays exact as the slope goes to 0.
        root = np.sqrt(np.maximum(rates * rates + 2.0 * slopes * queries, 0.0))
        seconds = 2.0 * queries / np.maximum(rates + root, np.finfo(np.float64).tiny)
        times: Int64Array = offsets + (seconds * NS_PER_S).astype(np.int64)
        # Rounding must not carry an instant past the next piece's first.
        ends = np.array([*(piece.start_ns for piece in self.pieces[1:]), _NEVER_NS])
        np.minimum(times, ends[which], out=times)
        return times

    def queries_until(self, until_ns: int) -> float:
        """Queries expected before ``until_ns``."""
        piece = max((p for p in self.pieces if p.start_ns <= until_ns), key=_start_ns)
        seconds = (until_ns - piece.start_ns) / NS_PER_S
        passed = seconds * (piece.start_qps + piece.slope * seconds / 2.0)
        return piece.start_parts / PARTS_PER_QUERY + passed


def _start_ns(piece: RatePiece) -> int:
    return piece.start_ns


def parse_steps(text: str) -> Rate:
    """``QPS:MS,QPS:MS,...``: each rate for so long, the last one for ever; 0 is a pause."""
    pieces: list[RatePiece] = []
    start_ns, parts = 0, 0.0
    qps = 0.0
    for word in text.split(","):
        qps, duration_ms = _step(word)
        pieces.append(RatePiece(start_ns, qps, 0.0, parts))
        start_ns += round(duration_ms * NS_PER_MS)
        parts += qps * duration_ms * (PARTS_PER_QUERY / 1000.0)
    if qps <= 0:
        raise SettingsError("steps: the last rate must be above 0")
    return Rate(tuple(pieces), start_ns)


def _step(word: str) -> tuple[float, float]:
    rate_text, colon, duration_text = word.strip().partition(":")
    try:
        qps, duration_ms = float(rate_text), float(duration_text)
    except ValueError:
        raise SettingsError(f"steps: {word.strip()!r} is not QPS:MS") from None
    if not colon or not 0 <= qps < math.inf or not 0 < duration_ms < _LONGEST_STEP_MS:
        raise SettingsError(f"steps: {word.strip()!r}: need QPS of 0 or more and MS above 0")
    return qps, duration_ms


def ramp(first: float, last: float, duration_ms: int) -> Rate:
    """Linear from ``first`` to ``last`` queries a second over ``duration_ms``, then steady."""
    seconds = duration_ms / 1000.0
    steady = (first + last) / 2.0 * seconds * PARTS_PER_QUERY
    end_ns = duration_ms * NS_PER_MS
    flat = RatePiece(end_ns, last, 0.0, steady)
    if not end_ns:
        return Rate((flat,), 0)
    rising = RatePiece(0, first, (last - first) / seconds, 0.0)
    return Rate((rising, flat), end_ns)
