"""Which rates a sweep measures, and what its points say: the knee, the highest valid rate. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen_service.errors import SettingsError

POINTS_MAX: Final = 500
ADAPTIVE_POINTS_MAX: Final = 16
STEEP: Final = 1.5
"""Neighbours whose tail differs by more than this leave room for a point between them."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One rate: what was offered and completed a second, and latencies in ns, None if unknown."""

    target_qps: float
    completed_qps: float | None
    valid: bool
    mean_ns: int | None
    p50_ns: int | None
    p90_ns: int | None
    p99_ns: int | None
    p99_9_ns: int | None
    max_ns: int | None
    failed_count: int = 0
    reason: str = ""
    directory: str = ""


def parse_range(text: str) -> list[float]:
    """``FIRST:LAST:STEP``, the last one included where a step meets it. Raises SettingsError."""
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise SettingsError(
            f"target_qps: a sweep wants FIRST:LAST:STEP, such as 50:1000:50, got {text!r}"
        ) from None
    if not (0 < first <= last < float("inf")) or not 0 < step < float("inf"):
        raise SettingsError(f"target_qps: 0 < FIRST <= LAST and STEP > 0 wanted, got {text!r}")
    # half a millionth of a step: 0.1 + 2 * 0.1 is a little more than 0.3
    count = int((last - first) / step + 1e-6) + 1
    if count > POINTS_MAX:
        raise SettingsError(f"target_qps: {count} points, at most {POINTS_MAX}; take longer steps")
    return [round(first + place * step, 9) for place in range(count)]


def next_rate(grid: Sequence[float], done: Mapping[float, SweepPoint]) -> float | None:
    """The next rate of an adaptive sweep over ``grid`` (ascending), None where it is done.

    First both ends, then halving between the highest valid rate below the lowest invalid one and
    that one, then the widest steep gaps of the curve.
    """
    known = [rate for rate in grid if rate in done]
    for end in (grid[0], grid[-1]):
        if end not in done:
            return end
    if len(known) >= ADAPTIVE_POINTS_MAX:
        return None
    invalid = [rate for rate in known if not done[rate].valid]
    below = [rate for rate in known if done[rate].valid and (not invalid or rate < invalid[0])]
    if invalid and below:
        between = _middle(grid, below[-1], invalid[0])
        if between is not None:
            return between
    gaps = [
        (grid.index(right) - grid.index(left), left, right)
        for left, right in itertools.pairwise(known)
        if _is_steep(done[left], done[right]) and _middle(grid, left, right) is not None
    ]
    return _middle(grid, *max(gaps)[1:]) if gaps else None


def _is_steep(left: SweepPoint, right: SweepPoint) -> bool:
    if left.p99_ns is None or right.p99_ns is None:
        return True
    low, high = sorted((max(1, left.p99_ns), max(1, right.p99_ns)))
    return high / low > STEEP


def _middle(grid: Sequence[float], left: float, right: float) -> float | None:
    first, last = grid.index(left), grid.index(right)
    return grid[(first + last) // 2] if last - first > 1 else None


def knee(points: Sequence[SweepPoint]) -> SweepPoint | None:
    """Where completed queries a second over mean latency is greatest (Kleinrock's power).

    Below it more load costs little latency, above it little more is completed. None with fewer than
    three usable points, or where the greatest stands at an end: the range does not hold the knee.
    """
    usable = sorted(
        (one for one in points if one.completed_qps and one.mean_ns), key=lambda one: one.target_qps
    )
    if len(usable) < 3:
        return None
    best = max(usable, key=lambda one: (one.completed_qps or 0) / (one.mean_ns or 1))
    return best if best not in (usable[0], usable[-1]) else None


def highest_valid(points: Sequence[SweepPoint]) -> SweepPoint | None:
    """The highest rate that met every condition of the verdict."""
    valid = [one for one in points if one.valid]
    return max(valid, key=lambda one: one.target_qps, default=None)
