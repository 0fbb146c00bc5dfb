"""Rows of the comparison: measured in alternating rounds, judged as ratios.

A row never stops the others: a missing peer and a failed measurement are results with a reason.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from processes import MissingPeer, RowFailed

Measure = Callable[[], float]

FAILURES = (MissingPeer, RowFailed, OSError, ValueError, LookupError, subprocess.SubprocessError)
"""What a measurement may raise; anything else is a mistake of the harness."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison. ``measure`` gives its figure."""

    name: str
    measure: Measure


@dataclass(frozen=True)
class Row:
    """``ours`` against ``peer``. ``target``: least ratio; ``inverse``: less is better, so the
    ratio is the peer's figure over ours. ``beside``: measured for context only."""

    what: str
    unit: str
    ours: Side
    peer: Side
    target: float | None
    inverse: bool = False
    rounds: int = 3
    beside: tuple[Side, ...] = ()


@dataclass
class Result:
    """What became of one row; figures are medians over the rounds."""

    what: str
    peer: str
    unit: str
    target: float | None
    ours_figure: float | None = None
    peer_figure: float | None = None
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    rounds: int = 0
    reason: str = ""
    beside: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    group: str = ""
    measured_unix_s: int = 0

    @property
    def is_met(self) -> bool | None:
        """None where nothing could be judged."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio >= self.target


def measure(row: Row, rounds: int | None = None) -> Result:
    """Both sides in turn, ``rounds`` times; a failure is a reason, not an exception."""
    return measure_together([row], rounds)[0]


def measure_together(
    rows: Sequence[Row], rounds: int | None = None, until_s: float = math.inf
) -> list[Result]:
    """Rows with the same ``ours``: it is measured once a round, then each peer in turn.

    A peer that fails is out with its reason and the others go on. No round begins after
    ``until_s`` (monotonic) but the first.
    """
    results = [Result(row.what, row.peer.name, row.unit, row.target) for row in rows]
    pairs: list[list[tuple[float, float]]] = [[] for _ in rows]
    beside: list[dict[str, list[float]]] = [{side.name: [] for side in r.beside} for r in rows]
    for done in range(rounds or rows[0].rounds):
        if done and time.monotonic() > until_s:
            break
        try:
            ours = rows[0].ours.measure()
        except FAILURES as error:
            for result in results:
                result.reason = result.reason or f"ours: {reason_of(error)}"
            break
        for row, result, found, more in zip(rows, results, pairs, beside, strict=True):
            if result.reason:
                continue
            try:
                found.append((ours, row.peer.measure()))
                for side in row.beside:
                    more[side.name].append(side.measure())
            except FAILURES as error:
                result.reason = reason_of(error)
                result.ours_figure = ours
    for row, result, found, more in zip(rows, results, pairs, beside, strict=True):
        _join(result, row, found, more)
    return results


def reason_of(error: Exception) -> str:
    """One line."""
    return " ".join((str(error) or type(error).__name__).split())[:300]


def _join(
    result: Result, row: Row, pairs: list[tuple[float, float]], beside: dict[str, list[float]]
) -> None:
    if pairs:
        ratios = [(p / o if row.inverse else o / p) if o and p else 0.0 for o, p in pairs]
        result.ours_figure = statistics.median(o for o, _ in pairs)
        result.peer_figure = statistics.median(p for _, p in pairs)
        result.ratio = statistics.median(ratios)
        result.ratio_min, result.ratio_max, result.rounds = min(ratios), max(ratios), len(pairs)
    result.beside = {name: statistics.median(each) for name, each in beside.items() if each}


def say(result: Result) -> str:
    """One line for a person who waits."""
    if result.ratio is None:
        return f"{result.what} / {result.peer}: not measured: {result.reason}"
    verdict = {True: "met", False: "NOT MET", None: "-"}[result.is_met]
    return (
        f"{result.what} / {result.peer}: {number(result.ours_figure)} against "
        f"{number(result.peer_figure)} {result.unit}, ratio {result.ratio:.2f} "
        f"({result.ratio_min:.2f}-{result.ratio_max:.2f}), "
        f"target {number(result.target)}: {verdict}"
    )


def number(value: float | None) -> str:
    """Three significant digits, thousands apart."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
