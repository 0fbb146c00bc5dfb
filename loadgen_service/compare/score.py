"""The score: each system's figure over the reference's, more is better, by geometric mean. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadgen_service.compare.systems import System
from loadgen_service.compare.task import Figure
from loadgen_service.core.summary.parts import Metric


@dataclass(frozen=True, slots=True)
class Part:
    """One scenario of a score: the figure, the reference's, and their ratio; above 1 is better."""

    scenario: str
    metric: str
    unit: str
    value: float
    reference: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Score:
    """``value``: geometric mean of the parts' ratios."""

    system: str
    reference: str
    value: float
    parts: tuple[Part, ...]


def oriented_ratio(value: float, reference: float, unit: str) -> float:
    """Above 1 where ``value`` is the better: a time is better if shorter, a rate if higher."""
    return reference / value if unit == "ns" else value / reference


def geometric_mean(ratios: Sequence[float]) -> float:
    """Of positive ratios; at least one."""
    return math.exp(math.fsum(math.log(ratio) for ratio in ratios) / len(ratios))


def figures_of(system: System) -> dict[str, Figure]:
    """The metric of each timed run, where it is known and finite."""
    found = {}
    for scenario, run in system.runs.items():
        metric: Metric | None = run.summary.metric
        if metric is not None and metric.value is not None and metric.value > 0:
            found[scenario] = Figure(metric=metric.name, value=metric.value, unit=metric.unit)
    return found


def scores(
    systems: Sequence[System], reference: str, figures: Mapping[str, Figure]
) -> tuple[list[Score], list[str]]:
    """A score for each system over the scenarios that all of them and the reference have.

    Also the scenarios left out, in words. No scores where no scenario is common.
    """
    own = {system.name: figures_of(system) for system in systems}
    every = dict.fromkeys(name for found in own.values() for name in found)
    common = [
        name
        for name in every
        if name in figures
        and all(name in found for found in own.values())
        and all(found[name].metric == figures[name].metric for found in own.values())
    ]
    left_out = [
        f"{name} is in no score: not every system and the reference have its figure"
        for name in every
        if name not in common
    ]
    if not common:
        return [], left_out
    return [
        _score(name, found, reference, figures, common) for name, found in own.items()
    ], left_out


def _score(
    name: str,
    own: Mapping[str, Figure],
    reference: str,
    figures: Mapping[str, Figure],
    common: Sequence[str],
) -> Score:
    parts = []
    for each in common:
        mine, other = own[each], figures[each]
        ratio = oriented_ratio(mine.value, other.value, mine.unit)
        parts.append(Part(each, mine.metric, mine.unit, mine.value, other.value, ratio))
    return Score(name, reference, geometric_mean([part.ratio for part in parts]), tuple(parts))
