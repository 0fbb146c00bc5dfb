"""A run over time: one point a second of what was recorded since the last one.

Decides the points' shape and how many are kept; knows neither HTTP nor who looks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from loadgen_service.core.stats.histogram import Histogram
from loadgen_service.core.units import NS_PER_MS, NS_PER_S
from loadgen_service.service.collect.live_stats import LiveStats, Tally
from loadgen_service.service.run.run import Run

POINTS_MAX: Final = 1200
"""A longer run keeps every second point, and from then on makes one half as often."""

RUNS_MAX: Final = 40
"""Runs whose points are kept, more than a mixed run has streams; the figures of older ones stand in
their summaries."""


Number = float | None
Point = dict[str, object]


@dataclass(slots=True)
class _Seen:
    """What one part of a series had come to at the last point."""

    completed: int = 0
    errors: int = 0
    latency_ns: Histogram = field(default_factory=Histogram)

    @classmethod
    def of(cls, tally: Tally) -> _Seen:
        return cls(tally.completed, tally.failed + tally.timed_out, tally.latency_ns.copy())


@dataclass(slots=True)
class Timeline:
    """The points of one run, oldest first. ``thinned`` counts how often half of them went."""

    points: list[Point] = field(default_factory=list)
    thinned: int = 0
    _t0_ns: int = 0
    _at_ns: int = 0
    _answered_ns: int = 0
    _skipped: int = 0
    _live: LiveStats | None = None
    _all: _Seen = field(default_factory=_Seen)
    _delay_ns: Histogram = field(default_factory=Histogram)
    _suts: dict[int, _Seen] = field(default_factory=dict)

    def look(self, run: Run, now_ns: int) -> None:
        """Add a point, if it is time for one and something runs."""
        if run.series is None or run.collector is None:
            return
        live = run.collector.live.get(run.series.index)
        if live is None or now_ns <= run.t0_ns:
            return
        run.hear_workers(now_ns)
        if live is not self._live:
            self._begin(live, run.t0_ns)
        if live.issued == live.all.settled == self._all.completed + self._all.errors:
            self._at_ns = now_ns
            return
        self._skipped += 1
        if self._skipped < 1 << self.thinned:
            return
        self._skipped = 0
        self.points.append(self._point(live, len(run.sut_addresses), now_ns))
        self._thin()

    def _begin(self, live: LiveStats, t0_ns: int) -> None:
        self._t0_ns = self._t0_ns or t0_ns
        self._live, self._at_ns, self._answered_ns = live, t0_ns, 0
        self._all, self._delay_ns, self._suts = _Seen(), Histogram(), {}

    def _point(self, live: LiveStats, sut_count: int, now_ns: int) -> Point:
        seconds = self._seconds(live, now_ns)
        window, delay = _since(live.all, self._all), live.issue_delay_ns.since(self._delay_ns)
        suts = [self._sut(live, index, seconds) for index in range(sut_count)]
        point: Point = {
            "t": round((now_ns - self._t0_ns) / NS_PER_S, 3),
            "qps": round((live.all.completed - self._all.completed) / seconds, 2),
            "errors": round((_errors(live.all) - self._all.errors) / seconds, 2),
            "outstanding": live.issued - live.all.settled,
            "p50": _ms(window, 0.5),
            "p90": _ms(window, 0.9),
            "p99": _ms(window, 0.99),
            "max": _ms(window, 1.0),
            "delay_p50": _ms(delay, 0.5),
            "delay_p99": _ms(delay, 0.99),
            "suts": suts,
        }
        self._at_ns = now_ns
        self._all, self._delay_ns = _Seen.of(live.all), live.issue_delay_ns.copy()
        return point

    def _seconds(self, live: LiveStats, now_ns: int) -> float:
        """What the counts are divided by: from the last answer of the point before to the last one.

        By the clock where nothing came; so a run's end, which lies between two points, shows no
        drop that never was.
        """
        between_ns = live.last_completed_ns - self._answered_ns
        if between_ns <= 0:
            between_ns = now_ns - self._at_ns
        self._answered_ns = live.last_completed_ns
        return max(1e-3, between_ns / NS_PER_S)

    def _sut(self, live: LiveStats, index: int, seconds: float) -> dict[str, Number]:
        tally, seen = live.by_sut.get(index, Tally()), self._suts.get(index, _Seen())
        self._suts[index] = _Seen.of(tally)
        return {
            "qps": round((tally.completed - seen.completed) / seconds, 2),
            "p99": _ms(_since(tally, seen), 0.99),
        }

    def _thin(self) -> None:
        if len(self.points) >= POINTS_MAX:
            self.points = self.points[1::2]
            self.thinned += 1


class Timelines:
    """The timelines of the last runs, by run id."""

    def __init__(self) -> None:
        self._by_run: OrderedDict[str, Timeline] = OrderedDict()

    def look(self, runs: Iterable[Run], now_ns: int) -> None:
        """Add a point to each run that goes on."""
        for run in runs:
            if run.run_id not in self._by_run:
                self._by_run[run.run_id] = Timeline()
                if len(self._by_run) > RUNS_MAX:
                    self._by_run.popitem(last=False)
            self._by_run[run.run_id].look(run, now_ns)

    def of(self, run_id: str) -> Timeline:
        """The run's points; none for a run that is too old or never ran."""
        return self._by_run.get(run_id) or Timeline()


def _errors(tally: Tally) -> int:
    return tally.failed + tally.timed_out


def _since(tally: Tally, seen: _Seen) -> Histogram:
    return tally.latency_ns.since(seen.latency_ns)


def _ms(window: Histogram, quantile: float) -> Number:
    """A quantile in ms; None where the window is empty: a line then breaks instead of falling."""
    if not window.count:
        return None
    value_ns = window.max if quantile >= 1 else window.value_at_quantile(quantile)
    return round(value_ns / NS_PER_MS, 4)
