"""Bursts as the unit: how late the worst of each is, how long it takes to go out and to drain.

Queries of one burst are correlated, so early stopping counts bursts (design, "Verdict").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen_service.core.figures.loadgen import Latencies
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import QueryRows
from loadgen_service.core.records.request_table import Int64Array, RequestTable
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.percentiles import Distribution


@dataclass(frozen=True, slots=True)
class BurstFigures:
    """``drain_ns``: from a burst's instant to its last good answer, of bursts wholly answered.

    ``smear_ns``: from the first to the last query of a burst being issued.
    """

    burst_count: int
    unanswered_count: int
    drain_ns: Distribution | None
    smear_ns: Distribution | None


def burst_latencies(settings: Settings, queries: QueryRows) -> Latencies:
    """Latency of each burst's slowest query; a burst with an unanswered query is unanswered.

    Queries that were not issued do not count, nor do bursts without an issued query.
    """
    starts = _burst_starts(settings, len(queries.status))
    if len(starts) == 0:
        return Latencies(np.empty(0, dtype=np.int64), 0)
    issued = queries.status != Status.NOT_ISSUED
    good = queries.status == Status.COMPLETED
    latency = np.where(good, queries.completed_ns - queries.scheduled_ns, NEVER)
    any_issued = np.logical_or.reduceat(issued, starts)
    any_bad = np.logical_or.reduceat(issued & ~good, starts)
    slowest = np.maximum.reduceat(latency, starts)
    return Latencies(slowest[any_issued & ~any_bad], int(np.count_nonzero(any_bad)))


def burst_figures(settings: Settings, table: RequestTable) -> BurstFigures:
    """Drain and smear of every burst; one request is one query in this scenario."""
    queries = QueryRows(table.status, table.scheduled_ns, table.issued_ns, table.completed_ns)
    latencies = burst_latencies(settings, queries)
    return BurstFigures(
        burst_count=latencies.count,
        unanswered_count=latencies.unanswered_count,
        drain_ns=Distribution.of(latencies.completed_ns),
        smear_ns=Distribution.of(_smears(settings, table.issued_ns)),
    )


def _smears(settings: Settings, issued_ns: Int64Array) -> Int64Array:
    starts = _burst_starts(settings, len(issued_ns))
    if len(starts) == 0:
        return np.empty(0, dtype=np.int64)
    last = np.maximum.reduceat(issued_ns, starts)
    first = np.minimum.reduceat(
        np.where(issued_ns == NEVER, np.iinfo(np.int64).max, issued_ns), starts
    )
    smear: Int64Array = (last - first)[last != NEVER]
    return smear


def _burst_starts(settings: Settings, query_count: int) -> Int64Array:
    return np.arange(0, query_count, settings.burst_query_count, dtype=np.int64)
