"""Queries out of requests: a query's status is its worst request's, its latency the slowest's.

Also which unit a scenario measures: LoadGen counts samples in Offline and queries elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.request_table import Column, Int64Array, RequestTable
from loadgen_service.core.stats.percentiles import pieces_of

BoolArray = npt.NDArray[np.bool_]

_BY_SEVERITY: Final = np.array(
    [Status.COMPLETED, Status.NOT_ISSUED, Status.FAILED, Status.TIMED_OUT, Status.LOST],
    dtype=np.uint8,
)
_SEVERITY: Final = np.argsort(_BY_SEVERITY).astype(np.uint8)
"""A query with one request missing is not wholly issued, with one lost it is lost."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How the planned ended: planned = not_issued + completed + failed + timed_out + lost.

    ``issued`` is all but the not issued; a lost one counts as issued, since nobody can deny it.
    """

    planned: int
    not_issued: int
    issued: int
    completed: int
    failed: int
    timed_out: int
    lost: int

    @classmethod
    def of(cls, status: Column, weights: Int64Array | None = None) -> Counts:
        """Count statuses, each once or ``weights`` times."""
        tally = np.zeros(len(Status), np.int64)
        for piece in pieces_of(len(status)):  # bincount copies what it counts
            some = None if weights is None else weights[piece]
            counted = np.bincount(status[piece], weights=some, minlength=len(Status))
            tally += counted.astype(np.int64)
        by = [int(count) for count in tally]
        planned = sum(by)
        not_issued = by[Status.NOT_ISSUED]
        return cls(
            planned=planned,
            not_issued=not_issued,
            issued=planned - not_issued,
            completed=by[Status.COMPLETED],
            failed=by[Status.FAILED],
            timed_out=by[Status.TIMED_OUT],
            lost=by[Status.LOST],
        )

    @property
    def unanswered(self) -> int:
        """Issued, but without a good answer."""
        return self.issued - self.completed


@dataclass(frozen=True, slots=True)
class QueryRows:
    """One entry a query, in plan order; times in ns since the series' start, NEVER where unknown.

    ``issued_ns`` is when its first request went out, ``completed_ns`` when its last answer came.
    """

    status: Column
    scheduled_ns: Int64Array
    issued_ns: Int64Array
    completed_ns: Int64Array

    @property
    def latency_ns(self) -> Int64Array:
        """Latencies of the completed queries, from the scheduled instant."""
        latency = np.empty(np.count_nonzero(self.status == Status.COMPLETED), dtype=np.int64)
        start = 0
        for piece in pieces_of(len(self.status)):
            done = self.status[piece] == Status.COMPLETED
            some = (self.completed_ns[piece] - self.scheduled_ns[piece])[done]
            latency[start : start + len(some)] = some
            start += len(some)
        return latency


def query_rows(plan: SeriesPlan, table: RequestTable) -> QueryRows:
    """Fold requests into queries; where each query is one request, the columns as they stand."""
    per_query = plan.requests_per_query
    issued_ns = table.issued_ns
    if (issued_ns == NEVER).any():
        issued_ns = np.where(issued_ns == NEVER, table.released_ns, issued_ns)
    if per_query == 1:
        return QueryRows(table.status, table.scheduled_ns, issued_ns, table.completed_ns)
    starts = np.flatnonzero(np.diff(table.row // per_query, prepend=-1))
    if len(starts) == 0:
        return QueryRows(table.status, table.scheduled_ns, issued_ns, table.completed_ns)
    worst = np.maximum.reduceat(_SEVERITY[table.status], starts)
    return QueryRows(
        status=_BY_SEVERITY[worst],
        scheduled_ns=_earliest(table.scheduled_ns, starts),
        issued_ns=_earliest(issued_ns, starts),
        completed_ns=np.maximum.reduceat(table.completed_ns, starts),
    )


def _earliest(times: Int64Array, starts: npt.NDArray[np.intp]) -> Int64Array:
    """Smallest instant of each query among those that happened."""
    never = np.iinfo(np.int64).max
    least = np.minimum.reduceat(np.where(times == NEVER, never, times), starts)
    return np.where(least == never, NEVER, least)
