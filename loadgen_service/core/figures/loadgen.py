"""LoadGen's own figures of a series: headline formulas, target percentile, early stopping.

Specification 3.1-3.5. A query without a good answer (failed, timed out, lost) has an infinite
latency here; None stands for a figure that is infinite or that the scenario does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import BoolArray, QueryRows
from loadgen_service.core.records.request_table import Int64Array
from loadgen_service.core.scenarios import SCENARIOS, RateName
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.early_stopping import estimate_index, min_total_count
from loadgen_service.core.stats.percentiles import quantile_index, truncated_mean, values_at
from loadgen_service.core.units import NS_PER_S

MULTI_STREAM_QUANTILE: Final = 0.99
"""Single_stream also estimates this one, from which edge submissions infer MultiStream."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of one unit (queries, samples or bursts): the finite ones, and how many are not."""

    completed_ns: Int64Array
    unanswered_count: int

    @property
    def count(self) -> int:
        """All that were issued."""
        return len(self.completed_ns) + self.unanswered_count

    def at(self, index: int) -> int | None:
        """The latency at ``index``, ascending; None where it is infinite or out of range."""
        if not 0 <= index < len(self.completed_ns):
            return None
        return values_at(self.completed_ns, [index])[0]

    def at_quantile(self, quantile: float) -> int | None:
        """LoadGen's percentile with the unanswered at infinity."""
        return self.at(quantile_index(self.count, quantile)) if self.count else None

    def count_above(self, limit_ns: int) -> int:
        """How many exceed ``limit_ns`` (strictly), the unanswered among them."""
        return int(np.count_nonzero(self.completed_ns > limit_ns)) + self.unanswered_count


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """LoadGen's early stopping. ``unit``: what was counted (queries, samples, bursts).

    ``required_count``: fewest of them that suffice with so many late. ``estimate_ns``,
    ``discarded_count``: streams only; ``estimate_99_ns``: single_stream's second estimate.
    """

    met: bool
    unit: str
    quantile: float
    count: int
    overlatency_count: int
    required_count: int
    estimate_ns: int | None = None
    discarded_count: int | None = None
    estimate_99_ns: int | None = None


@dataclass(frozen=True, slots=True)
class LoadgenFigures:
    """Instants of the last issued query, ns since the start; rates in samples or queries a second.

    ``duration_ns`` is what min_duration_ms is compared with. Rates follow specification 3.3 and are
    None outside their scenario: ``completed_samples_per_second`` and
    ``scheduled_samples_per_second`` Server, ``samples_per_second`` Offline,
    ``qps_with_overhead`` and ``qps_without_overhead`` SingleStream.
    """

    duration_ns: int | None
    final_query_scheduled_ns: int | None
    final_query_issued_ns: int | None
    final_query_done_ns: int | None
    max_latency_ns: int | None
    target_percentile: float
    target_percentile_latency_ns: int | None
    overlatency_count: int | None
    completed_samples_per_second: float | None = None
    scheduled_samples_per_second: float | None = None
    samples_per_second: float | None = None
    qps_with_overhead: float | None = None
    qps_without_overhead: float | None = None
    early_stopping: EarlyStopping | None = None


def loadgen_figures(
    settings: Settings,
    queries: QueryRows,
    latencies: Latencies,
    stopping: EarlyStopping | None,
    window_ns: int | None,
) -> LoadgenFigures:
    """Figures of a series. ``latencies``: of the unit that the scenario judges."""
    last = _last_issued(queries)
    scheduled, issued = (_known(t, last) for t in (queries.scheduled_ns, queries.issued_ns))
    done = _known(queries.completed_ns, last, queries.status == Status.COMPLETED)
    max_latency = int(latencies.completed_ns.max()) if len(latencies.completed_ns) else None
    row = SCENARIOS[settings.scenario]
    counted = _Counted(latencies, scheduled, issued, done)
    durations = {
        "issued": issued,
        "scheduled": scheduled,
        "latency": max_latency,
        "window": window_ns,
    }
    limit_ns = settings.latency_limit_ns
    return LoadgenFigures(
        duration_ns=durations[row.duration_clock],
        final_query_scheduled_ns=scheduled,
        final_query_issued_ns=issued,
        final_query_done_ns=done,
        max_latency_ns=max_latency,
        target_percentile=settings.percentile,
        target_percentile_latency_ns=latencies.at_quantile(settings.percentile),
        overlatency_count=latencies.count_above(limit_ns) if limit_ns else None,
        early_stopping=stopping,
        **{name: _RATES[name](counted) for name in row.rates},
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """What the rates are made of; only completed samples count as completed."""

    latencies: Latencies
    scheduled_ns: int | None
    issued_ns: int | None
    done_ns: int | None

    @property
    def completed_count(self) -> int:
        return len(self.latencies.completed_ns)

    def completed_samples_per_second(self) -> float | None:
        return per_second(self.completed_count - 1, self.done_ns)

    def scheduled_samples_per_second(self) -> float | None:
        return per_second(self.latencies.count - 1, self.scheduled_ns)

    def samples_per_second(self) -> float | None:
        completed_ns = self.latencies.completed_ns
        makespan_ns = int(completed_ns.max()) if len(completed_ns) else None
        return per_second(self.completed_count, makespan_ns)

    def qps_with_overhead(self) -> float | None:
        return per_second(self.latencies.count - 1, self.issued_ns)

    def qps_without_overhead(self) -> float | None:
        completed_ns = self.latencies.completed_ns
        return per_second(1, truncated_mean(completed_ns) if len(completed_ns) else None)


_RATES: Final[dict[RateName, Callable[[_Counted], float | None]]] = {
    "completed_samples_per_second": _Counted.completed_samples_per_second,
    "scheduled_samples_per_second": _Counted.scheduled_samples_per_second,
    "samples_per_second": _Counted.samples_per_second,
    "qps_with_overhead": _Counted.qps_with_overhead,
    "qps_without_overhead": _Counted.qps_without_overhead,
}
"""Specification 3.3."""


def per_second(count: float, duration_ns: int | None) -> float | None:
    """``count`` in ``duration_ns`` as a rate; None without a duration or with nothing in it."""
    if not duration_ns or duration_ns < 0 or count < 0:
        return None
    return count / (duration_ns / NS_PER_S)


def stream_stopping(settings: Settings, latencies: Latencies, *, also_99: bool) -> EarlyStopping:
    """SingleStream and MultiStream: an estimate from the latencies less the largest few.

    Met with enough queries, as LoadGen has it, and a finite estimate, which LoadGen's always is.
    """
    quantile = settings.percentile
    place = estimate_index(latencies.count, quantile)
    estimate = latencies.at(place) if place is not None else None
    second = estimate_index(latencies.count, MULTI_STREAM_QUANTILE) if also_99 else None
    return EarlyStopping(
        met=estimate is not None,
        unit="queries",
        quantile=quantile,
        count=latencies.count,
        overlatency_count=latencies.unanswered_count,
        required_count=min_total_count(1, quantile),
        estimate_ns=estimate,
        discarded_count=latencies.count - place - 1 if place is not None else None,
        estimate_99_ns=latencies.at(second) if second is not None else None,
    )


def limit_stopping(settings: Settings, latencies: Latencies, unit: str) -> EarlyStopping:
    """Server, and bursts as their unit: enough of them for so many over the limit."""
    quantile = settings.percentile
    late = latencies.count_above(settings.latency_limit_ns)
    required = min_total_count(late, quantile)
    return EarlyStopping(
        met=latencies.count >= required,
        unit=unit,
        quantile=quantile,
        count=latencies.count,
        overlatency_count=late,
        required_count=required,
    )


def _last_issued(queries: QueryRows) -> int | None:
    issued = queries.status != Status.NOT_ISSUED
    return len(issued) - 1 - int(issued[::-1].argmax()) if issued.any() else None


def _known(times: Int64Array, index: int | None, good: BoolArray | None = None) -> int | None:
    """The instant at ``index``, or the latest one where that never happened; None if none did.

    Only ``good`` ones happened, where that is given.
    """
    if index is None:
        return None
    if (good is None or good[index]) and times[index] != NEVER:
        return int(times[index])
    latest = int(times.max() if good is None else times.max(where=good, initial=NEVER))
    return latest if latest != NEVER else None
