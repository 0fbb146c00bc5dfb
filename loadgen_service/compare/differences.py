"""How far one run is from another: every figure, its interval, and one plain sentence.

Decides which figure speaks for a scenario; what may be compared was decided before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from loadgen_service.compare.records_check import require_agreement
from loadgen_service.compare.systems import Run
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.stats.bootstrap import (
    SEED,
    SLICE_COUNT,
    Difference,
    Float64Array,
    block_weights,
    difference,
)
from loadgen_service.core.stats.latency_heatmap import LatencyGrid
from loadgen_service.core.units import NS_PER_S
from loadgen_service.core.verdict.findings.finding import say_percentile
from loadgen_service.report.formatting import say_ns, say_rate
from loadgen_service.report.records_reader import read_grid

FEWEST_BEYOND: Final = 10
"""A percentile with fewer queries beyond it has no interval worth the name."""
FEWEST_FOR_RATE: Final = 100
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class FigureDifference:
    """One figure in two runs. ``between``: None where no interval can be given, ``note`` says why.

    ``first`` and ``second`` are ns or 1/s by ``unit``; infinite where too few were answered.
    """

    name: str
    unit: str
    first: float
    second: float
    more_is_better: bool
    between: Difference | None
    note: str = ""

    @property
    def relative(self) -> float | None:
        """``second / first - 1``; None where one of them is infinite or zero."""
        if not (math.isfinite(self.first) and math.isfinite(self.second)) or self.first <= 0:
            return None
        return self.second / self.first - 1

    @property
    def word(self) -> str:
        """faster, slower, or not distinguishable."""
        return self.between.word(self.more_is_better) if self.between else "not distinguishable"

    def say(self, value: float) -> str:
        """A value of this figure in its unit."""
        if not math.isfinite(value):
            return "infinite"
        return say_ns(round(value)) if self.unit == "ns" else f"{say_rate(value)}/s"

    def say_change(self) -> str:
        """+3.1 % (+1.0 to +5.2 %), or what is known of it."""
        if self.relative is None:
            return "-"
        point = f"{100 * self.relative:+.1f} %"
        if self.between is None:
            return point
        return f"{point} ({100 * self.between.low:+.1f} to {100 * self.between.high:+.1f} %)"


@dataclass(frozen=True, slots=True)
class ScenarioDifference:
    """One system against the first in one scenario; ``main`` is the figure that speaks for it."""

    scenario: str
    first_name: str
    second_name: str
    figures: list[FigureDifference]
    main: FigureDifference
    confidence: float
    offered: tuple[float, float] | None

    @property
    def word(self) -> str:
        """faster, slower, not distinguishable; ``not the same load`` where rates were chosen."""
        return "not the same load" if self.offered else self.main.word

    @property
    def sentence(self) -> str:
        """What a reader should take away."""
        who = f"{self.scenario}: {self.second_name}"
        shown = (
            f"{self.main.name} {self.main.say(self.main.second)} against "
            f"{self.main.say(self.main.first)}"
        )
        if self.offered:
            one, two = (say_rate(rate) for rate in self.offered)
            return (
                f"{who} was offered {two}/s and {self.first_name} {one}/s; rates are chosen, not "
                f"measured, and their latencies are of different loads ({shown})."
            )
        if self.word == "not distinguishable":
            start = f"{who} and {self.first_name} are not distinguishable"
        else:
            start = f"{who} is {self.word} than {self.first_name}"
        why = f"; {self.main.note}" if self.main.note else ""
        level = f", {100 * self.confidence:g} % interval" if self.main.between else ""
        return f"{start}: {shown}, {self.main.say_change()}{level}{why}."


@dataclass(frozen=True, slots=True)
class Measured:
    """A run with its latencies as a grid, read once for all figures and plots."""

    name: str
    run: Run
    grid: LatencyGrid


def measure(name: str, run: Run) -> Measured:
    """Read the records of a timed run.

    Raises UserError naming a file, and where the summary is not what the records say.
    """
    series = run.series
    assert series is not None
    require_agreement(run.directory, run.summary, series)
    return Measured(name, run, read_grid(run.directory, series, SLICE_COUNT))


class Comparer:
    """Draws the blocks once and compares pairs of runs with them."""

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        self._weights = block_weights(SEED), block_weights(SEED + 1)

    def compare(self, first: Measured, second: Measured) -> ScenarioDifference:
        """``second`` against ``first``, two runs of one scenario."""
        scenario = first.run.summary.scenario
        row = SCENARIOS[scenario]
        same_traffic = first.run.summary.plan_hash == second.run.summary.plan_hash
        # the same instants in both: what the traffic did to one it did to the other
        weights = (self._weights[0], self._weights[0 if same_traffic else 1])
        figures = []
        if not row.pulled:
            figures = [self._latency(first, second, weights, q) for q in _quantiles(first)]
        if not row.lateness_judged:
            figures.append(self._rate(first, second, weights))
        by_rate = row.duration_clock in ("latency", "window")
        main = figures[-1] if by_rate else figures[_quantiles(first).index(_target(first))]
        offered = _offered(first), _offered(second)
        differs = row.due == "arrivals" and not math.isclose(*offered, rel_tol=1e-9)
        return ScenarioDifference(
            scenario, first.name, second.name, figures, main, self._confidence,
            offered if differs else None,
        )  # fmt: skip

    def _latency(
        self,
        first: Measured,
        second: Measured,
        weights: tuple[Float64Array, Float64Array],
        quantile: float,
    ) -> FigureDifference:
        one, two = (
            measured.grid.weighted_quantiles(drawn, quantile)
            for measured, drawn in zip((first, second), weights, strict=True)
        )
        fewest = min(first.grid.count, second.grid.count) * (1 - quantile)
        enough = fewest >= FEWEST_BEYOND
        return FigureDifference(
            name=f"{say_percentile(quantile)} of latency",
            unit="ns",
            first=_exact(first, quantile, float(one[0])),
            second=_exact(second, quantile, float(two[0])),
            more_is_better=False,
            between=difference(one, two, self._confidence) if enough else None,
            note="" if enough else f"too few queries beyond {say_percentile(quantile)} to say",
        )

    def _rate(
        self, first: Measured, second: Measured, weights: tuple[Float64Array, Float64Array]
    ) -> FigureDifference:
        one, two = (
            drawn @ measured.grid.counts.sum(axis=1) / (measured.grid.end_ns / NS_PER_S)
            for measured, drawn in zip((first, second), weights, strict=True)
        )
        enough = min(first.grid.count, second.grid.count) >= FEWEST_FOR_RATE
        return FigureDifference(
            name="throughput",
            unit="1/s",
            first=float(one[0]),
            second=float(two[0]),
            more_is_better=True,
            between=difference(one, two, self._confidence) if enough else None,
            note="" if enough else "too few queries to say",
        )


def _target(measured: Measured) -> float:
    series = measured.run.series
    assert series is not None
    return series.loadgen.target_percentile


def _quantiles(measured: Measured) -> list[float]:
    """Those that are always shown, and the one that the scenario is judged by, once."""
    target = _target(measured)
    others = [q for q in QUANTILES if not math.isclose(q, target)]
    return sorted([*others, target])


def _exact(measured: Measured, quantile: float, read: float) -> float:
    """The summary's own figure where it has it: the grid's is off by up to half a bin."""
    series = measured.run.series
    assert series is not None
    known = series.latency_ns
    if not math.isfinite(read) or known is None or measured.grid.unanswered.any():
        return read
    names = {0.5: known.p50, 0.9: known.p90, 0.99: known.p99, 0.999: known.p99_9}
    near = [value for q, value in names.items() if math.isclose(q, quantile)]
    return float(near[0]) if near else read


def _offered(measured: Measured) -> float:
    value = measured.run.summary.settings.get("target_qps", 0.0)
    return float(value) if isinstance(value, int | float) else 0.0
