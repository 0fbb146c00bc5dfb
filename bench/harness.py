"""Rows of the comparison: measured in alternating rounds, judged as ratios, kept in results.json.

A row never stops the others: a missing peer and a failed measurement are results with a reason.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from processes import MissingPeer, RowFailed

Measure = Callable[[], float]


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

    @property
    def is_met(self) -> bool | None:
        """None where nothing could be judged."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio >= self.target


def measure(row: Row, rounds: int | None = None) -> Result:
    """Both sides in turn, ``rounds`` times; a failure is a reason, not an exception."""
    result = Result(row.what, row.peer.name, row.unit, row.target)
    ours: list[float] = []
    peers: list[float] = []
    beside: dict[str, list[float]] = {side.name: [] for side in row.beside}
    for _ in range(rounds or row.rounds):
        try:
            ours.append(row.ours.measure())
            peers.append(row.peer.measure())
            for side in row.beside:
                beside[side.name].append(side.measure())
        except (MissingPeer, RowFailed, OSError, ValueError, KeyError) as error:
            result.reason = " ".join(str(error).split())[:300]
            break
    return _joined(result, row, ours, peers, beside)


def _joined(
    result: Result,
    row: Row,
    ours: list[float],
    peers: list[float],
    beside: dict[str, list[float]],
) -> Result:
    if ours:
        result.ours_figure = statistics.median(ours)
    pairs = list(zip(ours, peers, strict=False))
    if pairs:
        ratios = [(p / o if row.inverse else o / p) if o and p else 0.0 for o, p in pairs]
        result.peer_figure = statistics.median(peers)
        result.ratio = statistics.median(ratios)
        result.ratio_min, result.ratio_max, result.rounds = min(ratios), max(ratios), len(pairs)
    result.beside = {name: statistics.median(each) for name, each in beside.items() if each}
    return result


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


def table(results: Sequence[Result]) -> str:
    """The Markdown table."""
    lines = [
        "| what | against | ours | theirs | unit | ratio (spread) | target | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        if one.ratio is None:
            lines.append(
                f"| {one.what} | {one.peer} | {number(one.ours_figure)} | | {one.unit} | | "
                f"{one.target or ''} | not measured: {one.reason} |"
            )
            continue
        spread = f"{one.ratio:.2f} ({one.ratio_min:.2f} to {one.ratio_max:.2f})"
        verdict = {True: "met", False: "**missed**", None: ""}[one.is_met]
        beside = "; ".join(f"{name} {number(value)}" for name, value in one.beside.items())
        lines.append(
            f"| {one.what} | {one.peer} | {number(one.ours_figure)} | {number(one.peer_figure)} | "
            f"{one.unit} | {spread} | {number(one.target)} | "
            f"{verdict}{'; ' if beside and verdict else ''}{beside} |"
        )
    return "\n".join(lines)


def write_results(path: Path, results: Sequence[Result], versions: dict[str, str]) -> None:
    """``results.json``: every figure, with where and on what it was measured."""
    content = {
        "measured_unix_s": round(time.time()),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "versions": versions,
        "rows": [{**asdict(one), "is_met": one.is_met} for one in results],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
