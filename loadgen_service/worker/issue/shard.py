"""One worker's rows of a series: which payload a position carries, to which SUT, and its record.

A position counts the worker's own requests in order; its row in the whole plan, its due time and
its SUT follow from the plan and are filled into the records when they are sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.sut.interface import Parts
from loadgen_service.worker.records.record_log import Columns

_Value = TypeVar("_Value")
Build = Callable[[Sequence[int]], Parts]

NO_OUTPUT: Final = -2
"""First response of an answer that ended well without any output, until its rows are sealed; where
it is ``NEVER`` the answer came whole, and its end is its first response."""

_INSTANTS: Final = ("released_ns", "issued_ns", "completed_ns")


class Shard:
    """The rows of worker ``worker_index`` of ``worker_count``, with their ready payloads.

    ``sut_of`` gives a position's SUT by number, or is None where the loop has but one, or chooses
    when it issues (``pulled``: offline, and where the plan names none).
    """

    def __init__(
        self,
        plan: SeriesPlan,
        rows: range | np.ndarray,
        build: Build,
    ) -> None:
        scenario = SCENARIOS[plan.scenario]
        self._plan = plan
        self._rows = rows
        self._build = build
        self.is_closed = scenario.closed
        self.pulled = scenario.pulled or not len(plan.sut_index)
        self.last_issue_ns = NEVER
        self.series_index = plan.spec.index
        self._ready: list[Parts] = []
        """By sample; empty where requests are built when they are issued."""
        self.payload_of = self._payloads()
        self.sut_of = self._suts()

    def rows_of(self, positions: np.ndarray) -> np.ndarray:
        """Plan rows of positions."""
        rows = self._rows
        if isinstance(rows, range):
            return rows.start + positions * rows.step
        found: np.ndarray = rows[positions]
        return found

    def finish(self, columns: Columns, t0_ns: int) -> None:
        """Complete sealed rows in place: positions become rows, instants count from ``t0_ns``."""
        rows = self.rows_of(columns["row"])
        columns["row"][:] = rows
        for name in _INSTANTS:
            _count_from(t0_ns, columns[name])
        columns["scheduled_ns"][:] = self._scheduled_ns(rows, columns)
        self._finish_first(columns, t0_ns)
        if not self.pulled:
            columns["sut_index"][:] = self._sut_index(rows)
        self.last_issue_ns = max(self.last_issue_ns, int(columns["issued_ns"].max()))

    def _finish_first(self, columns: Columns, t0_ns: int) -> None:
        """First responses: of an answer that came whole its end, of one without output none."""
        whole = columns["status"] == Status.COMPLETED
        first = columns["first_response_ns"]
        if first.min() == NO_OUTPUT:
            silent = first == NO_OUTPUT
            whole &= ~silent
            first[silent] = NEVER
        elif first.max() == NEVER and whole.all():
            first[:] = columns["completed_ns"]
            return
        _count_from(t0_ns, first)
        np.copyto(first, columns["completed_ns"], where=whole & (first == NEVER))

    def _scheduled_ns(self, rows: np.ndarray, columns: Columns) -> np.ndarray:
        if self.is_closed:
            return columns["released_ns"]  # due as soon as the loop was open
        found: np.ndarray = self._plan.scheduled_ns[self._queries(rows)]
        return found

    def _queries(self, rows: np.ndarray) -> np.ndarray:
        queries: np.ndarray = rows // self._plan.requests_per_query
        return queries % self._plan.query_count if self._plan.unbounded else queries

    def _sut_index(self, rows: np.ndarray) -> np.ndarray | int:
        suts = self._plan.sut_index
        return suts[self._queries(rows)] if len(suts) else 0

    def _suts(self) -> Callable[[int], int] | None:
        suts = self._plan.sut_index
        if self.pulled or not len(suts) or not suts.any():
            return None
        return self._by_position(self._column(np.repeat(suts, self._plan.requests_per_query)))

    def _payloads(self) -> Callable[[int], Parts]:
        plan = self._plan
        if plan.samples_per_request > 1:
            return self._payload_of_span
        samples = plan.samples if plan.unbounded else plan.samples[self._index()]
        self._ready = [b""] * (int(samples.max(initial=-1)) + 1)
        for sample in np.unique(samples).tolist():
            self._ready[sample] = self._build((sample,))
        ready, column = self._ready, self._column(plan.samples)
        if plan.unbounded:
            return self._by_position(list(map(ready.__getitem__, column)))
        return lambda position: ready[column[position]]

    def _payload_of_span(self, position: int) -> Parts:
        """Requests of several samples differ from one another: built when they are issued."""
        start, stop = self._plan.request_span(self._rows[position])
        return self._build(self._plan.samples[start:stop].tolist())

    def _column(self, column: np.ndarray) -> memoryview:
        """A column of the plan, by position; of an endless series, by row."""
        return (
            column.data
            if self._plan.unbounded
            else np.ascontiguousarray(column[self._index()]).data
        )

    def _by_position(self, values: Sequence[_Value]) -> Callable[[int], _Value]:
        """The value of a position, of what ``_column`` gave: called for every request."""
        if not self._plan.unbounded:
            return values.__getitem__
        rows: range = self._rows  # type: ignore[assignment]  # endless
        start, step, count = rows.start, rows.step, len(values)
        return lambda position: values[(start + position * step) % count]

    def _index(self) -> slice | np.ndarray:
        rows = self._rows
        return slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows


def _count_from(t0_ns: int, instants: np.ndarray) -> None:
    """Let them count from ``t0_ns``, in place; without a mask, which most rows do not need."""
    if instants.min() != NEVER:
        instants -= t0_ns
    elif instants.max() != NEVER:
        np.subtract(instants, t0_ns, out=instants, where=instants != NEVER)
