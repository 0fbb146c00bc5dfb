"""Outliers among SUTs that should be equal, and by how much. Names, never judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from loadgen_service.core.verdict.findings.finding import say_ns

SLOWER_TIMES: Final = 1.5
"""A p99 of some hundred requests wanders by a quarter; half as much again is no chance."""

MORE_FAILED: Final = 0.01
COUNT_MIN: Final = 100
"""Below it the p99 is the largest value, which says nothing of a SUT."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """One SUT: requests issued to it, those completed, and the p99 of their latency."""

    name: str
    issued: int
    completed: int
    p99_ns: int | None

    @property
    def unanswered_share(self) -> float:
        """Of what was issued, what got no good answer."""
        return (self.issued - self.completed) / self.issued if self.issued else 0.0


def outliers(siblings: Sequence[Sibling]) -> list[str]:
    """One line for each SUT that is slower or fails more than the median of the others.

    Two SUTs have only each other: the worse one is named.
    """
    said = []
    for one in siblings:
        others = [other for other in siblings if other is not one]
        said += _slower(one, others) + _failing(one, others)
    return said


def _slower(one: Sibling, others: Sequence[Sibling]) -> list[str]:
    tails = [o.p99_ns for o in others if o.p99_ns is not None and o.completed >= COUNT_MIN]
    if one.p99_ns is None or one.completed < COUNT_MIN or not tails:
        return []
    median_ns = median(tails)
    if one.p99_ns <= SLOWER_TIMES * median_ns:
        return []
    return [
        f"outlier: {one.name}: p99 {say_ns(one.p99_ns)}, "
        f"{one.p99_ns / max(1, median_ns):.3g} times its siblings' {say_ns(int(median_ns))}"
    ]


def _failing(one: Sibling, others: Sequence[Sibling]) -> list[str]:
    shares = [other.unanswered_share for other in others if other.issued]
    if not shares or one.unanswered_share <= median(shares) + MORE_FAILED:
        return []
    return [
        f"outlier: {one.name}: {one.unanswered_share:.3g} of its requests without a good answer, "
        f"its siblings {median(shares):.3g}"
    ]
