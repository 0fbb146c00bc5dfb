"""Rows of the comparison: measured in alternating rounds, judged as ratios.

A row never stops the others: a missing peer and a failed measurement are results with a reason.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from processes import MissingPeer, RowFailed


@dataclass(frozen=True)
class Measured:
    """A rate, and what a query of it cost: role of a process -> CPU microseconds."""

    figure: float
    cpu_us: dict[str, float]


Measure = Callable[[], float | Measured]

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
    ratio is the peer's figure over ours. ``beside``: measured for context only.
    ``cpu_target``: most CPU time a query of ours, as a share of the peer's; NaN to show it only."""

    what: str
    unit: str
    ours: Side
    peer: Side
    target: float | None
    inverse: bool = False
    rounds: int = 3
    beside: tuple[Side, ...] = ()
    cpu_target: float | None = None


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
    pairs: list[list[tuple[float | Measured, float | Measured]]] = [[] for _ in rows]
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
                    more[side.name].append(_figure(side.measure()))
            except FAILURES as error:
                result.reason = reason_of(error)
                result.ours_figure = ours
    for row, result, found, more in zip(rows, results, pairs, beside, strict=True):
        _join(result, row, [(_figure(o), _figure(p)) for o, p in found], more)
        _tell_cpu(result, found)
    costs = [
        _cost(row, result, found)
        for row, result, found in zip(rows, results, pairs, strict=True)
        if row.cpu_target is not None
    ]
    return [*results, *costs]


def _figure(measured: float | Measured) -> float:
    return measured.figure if isinstance(measured, Measured) else measured


def _cost(
    row: Row, rate: Result, pairs: Sequence[tuple[float | Measured, float | Measured]]
) -> Result:
    """The row of CPU time a query: a ratio of the peer's over ours."""
    target = None if math.isnan(row.cpu_target or 0.0) else 1.0 / (row.cpu_target or 1.0)
    result = Result(f"{row.what}: CPU a query", row.peer.name, "us", target, reason=rate.reason)
    whole = [
        (sum(ours.cpu_us.values()), sum(peer.cpu_us.values()))
        for ours, peer in pairs
        if isinstance(ours, Measured) and isinstance(peer, Measured)
    ]
    _join(result, dataclasses.replace(row, inverse=True), whole, {})
    return result


def _tell_cpu(result: Result, pairs: Sequence[tuple[float | Measured, float | Measured]]) -> None:
    """The medians of each process's cost, beside the figure."""
    for whose, each in (("ours", [o for o, _ in pairs]), ("theirs", [p for _, p in pairs])):
        said = [one.cpu_us for one in each if isinstance(one, Measured)]
        for role in said[0] if said else ():
            name = f"{whose}, {role}: CPU us a query"
            result.beside[name] = statistics.median(one.get(role, 0.0) for one in said)


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
