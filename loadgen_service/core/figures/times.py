"""Distributions of times between the instants of requests, read a piece of rows at a time.

Of a table of any size no column is copied: what is held is the table and a piece.

The two network halves of a request: issued -> SUT received, and SUT sent -> completed.

Each mixes the worker's clock with the SUT's, so each is worth no more than the offset between them:
measured before and after the load, a straight line between, with its error beside every figure.
Pure; who measured the clocks, and how, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from loadgen_service.core.facts.run import ClockFacts, SeriesFacts
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.request_table import Int64Array, RequestTable
from loadgen_service.core.stats.percentiles import Distribution

DRIFT_PER_S: Final = 1e-4
"""What two clocks may part by where no second measurement says it: quartz is good to 50 ppm."""


@dataclass(frozen=True, slots=True)
class ClockLine:
    """One peer's clock less one worker's: measured at ``at_ns``, a straight line between.

    Two clocks with a steady drift lie on a straight line, so between two measurements the error is
    at most the line between their errors; outside of them it grows by ``DRIFT_PER_S``.
    """

    at_ns: Int64Array
    offset_ns: Int64Array
    error_ns: Int64Array

    @classmethod
    def of(cls, measured: Iterable[ClockFacts]) -> Self:
        """A line through measurements of one peer by one worker, in any order; at least one."""
        rows = sorted((one.at_ns, one.offset_ns, one.error_ns) for one in measured)
        columns = np.array(rows, dtype=np.int64).T
        return cls(columns[0], columns[1], columns[2])

    def offset_at(self, at_ns: Int64Array) -> Int64Array:
        """The peer's clock less the worker's at instants of the worker, ns since the start."""
        # Relative to the first: an offset of weeks in ns would lose its last digits in a double.
        moved = np.interp(at_ns, self.at_ns, self.offset_ns - self.offset_ns[0])
        offset: Int64Array = self.offset_ns[0] + np.rint(moved).astype(np.int64)
        return offset

    def error_at(self, at_ns: Int64Array) -> Int64Array:
        """Half the width of the bar around ``offset_at``, ns."""
        outside = np.maximum(self.at_ns[0] - at_ns, at_ns - self.at_ns[-1]).clip(min=0)
        bar = np.interp(at_ns, self.at_ns, self.error_ns) + outside * DRIFT_PER_S
        error: Int64Array = np.ceil(bar).astype(np.int64)
        return error


@dataclass(frozen=True, slots=True)
class Hops:
    """One entry a request of the table; times count only where ``known``.

    One offset serves both halves of a request, so ``to_sut_ns`` + the SUT's own time +
    ``from_sut_ns`` is exactly completed - issued; each half is true within ``error_ns``.
    """

    known: np.ndarray[tuple[int], np.dtype[np.bool_]]
    to_sut_ns: Int64Array
    from_sut_ns: Int64Array
    error_ns: Int64Array

    def select(self, rows: slice | Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
        """The known ones of ``rows``: to the SUT, back from it, and the error of both."""
        known = self.known[rows]
        return (
            self.to_sut_ns[rows][known],
            self.from_sut_ns[rows][known],
            self.error_ns[rows][known],
        )


def request_hops(table: RequestTable, facts: SeriesFacts) -> Hops | None:
    """The network halves of every completed request whose SUT stamped it; None where none did."""
    received, sent = (table.server.get(f"server_{name}_ns") for name in ("received", "sent"))
    lines = _lines(facts.clocks)
    starts = {worker.worker_index: worker.start_clock_ns for worker in facts.workers}
    if received is None or sent is None or not lines:
        return None
    stamped = (table.status == Status.COMPLETED) & (received != NEVER) & (sent != NEVER)
    hops = Hops(np.zeros(len(table), np.bool_), *(np.zeros(len(table), np.int64) for _ in "123"))
    for (worker, sut), line in lines.items():
        if worker not in starts:
            continue
        rows = np.flatnonzero(stamped & (table.worker_index == worker) & (table.sut_index == sut))
        issued, completed = table.issued_ns[rows], table.completed_ns[rows]
        middle = issued + (completed - issued) // 2
        # From the worker's series clock to the SUT's own.
        shift = starts[worker] + line.offset_at(middle)
        hops.known[rows] = True
        hops.to_sut_ns[rows] = received[rows] - shift - issued
        hops.from_sut_ns[rows] = completed - (sent[rows] - shift)
        hops.error_ns[rows] = line.error_at(middle)
    return hops if hops.known.any() else None


def _lines(clocks: Sequence[ClockFacts]) -> dict[tuple[int, int], ClockLine]:
    measured: dict[tuple[int, int], list[ClockFacts]] = {}
    for one in clocks:
        if one.sut_index is not None:
            measured.setdefault((one.worker_index, one.sut_index), []).append(one)
    return {key: ClockLine.of(ones) for key, ones in measured.items()}


_ALL: Final = slice(None)
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Times:
    """Distributions in ns over requests; None where nothing was measured.

    issue_delay = issued - scheduled = late (taken - scheduled: the generator's own) + blocked
    (issued - taken: a full window, no free stream, a broken connection). service = completed -
    issued, of completed requests. server_*: the SUT's own timings; network = service less the time
    between the SUT's receiving and sending = to_sut + from_sut. These two mix two hosts' clocks and
    are true within hop_error_ns, the largest of any request.
    """

    issue_delay_ns: Distribution | None
    late_ns: Distribution | None
    blocked_ns: Distribution | None
    service_ns: Distribution | None
    first_response_ns: Distribution | None
    server_queue_ns: Distribution | None
    server_compute_ns: Distribution | None
    server_total_ns: Distribution | None
    network_ns: Distribution | None
    to_sut_ns: Distribution | None = None
    from_sut_ns: Distribution | None = None
    hop_error_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table, by their places in it, ascending; None: all of them."""

    table: RequestTable
    places: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.table) if self.places is None else len(self.places)

    def of(self, column: npt.NDArray[Any], piece: slice = _ALL) -> npt.NDArray[Any]:
        """What a column of the table holds in these rows, or in a piece of them."""
        return column[piece] if self.places is None else column[self.places[piece]]

    def latency(self) -> Distribution | None:
        """Of completed requests, from the scheduled instant."""
        table = self.table

        def values_in(piece: slice) -> Int64Array:
            spans = self.of(table.completed_ns, piece) - self.of(table.scheduled_ns, piece)
            return _those(spans, self._done(piece))

        return Distribution.of_rows(len(self), values_in)

    def between(
        self, start: Int64Array | None, end: Int64Array | None, *, is_done: bool = False
    ) -> Distribution | None:
        """Distribution of end - start where both happened; ``is_done``: of completed requests."""
        if start is None or end is None:
            return None

        def values_in(piece: slice) -> Int64Array:
            begun, ended = self.of(start, piece), self.of(end, piece)
            both = (begun != NEVER) & (ended != NEVER)
            if is_done:
                both &= self._done(piece)
            return _those(ended - begun, both)

        return Distribution.of_rows(len(self), values_in)

    def known(self, column: Int64Array | None) -> Distribution | None:
        """Distribution of a column that holds spans, where they are known."""
        if column is None:
            return None

        def values_in(piece: slice) -> Int64Array:
            values = self.of(column, piece)
            return _those(values, values != NEVER)

        return Distribution.of_rows(len(self), values_in)

    def outside_server(
        self, received: Int64Array | None, sent: Int64Array | None
    ) -> Distribution | None:
        """Service time less the time in the SUT: two intervals, each of one host's clock."""
        if received is None or sent is None:
            return None
        table = self.table

        def values_in(piece: slice) -> Int64Array:
            issued, completed, came, left = (
                self.of(column, piece)
                for column in (table.issued_ns, table.completed_ns, received, sent)
            )
            known = (issued != NEVER) & (completed != NEVER) & (came != NEVER) & (left != NEVER)
            return _those((completed - issued) - (left - came), known & self._done(piece))

        return Distribution.of_rows(len(self), values_in)

    def _done(self, piece: slice) -> BoolArray:
        done: BoolArray = self.of(self.table.status, piece) == Status.COMPLETED
        return done


def _those(values: Int64Array, wanted: BoolArray) -> Int64Array:
    return values if wanted.all() else values[wanted]


def row_times(rows: Rows, hops: Hops | None) -> Times:
    """All distributions of some rows."""
    table, server = rows.table, rows.table.server
    received, sent = server.get("server_received_ns"), server.get("server_sent_ns")
    none = np.empty(0, dtype=np.int64)
    places = _ALL if rows.places is None else rows.places
    to_sut, from_sut, error = hops.select(places) if hops else (none, none, none)
    return Times(
        issue_delay_ns=rows.between(table.scheduled_ns, table.issued_ns),
        late_ns=rows.between(table.scheduled_ns, table.released_ns),
        blocked_ns=rows.between(table.released_ns, table.issued_ns),
        service_ns=rows.between(table.issued_ns, table.completed_ns, is_done=True),
        first_response_ns=rows.between(table.scheduled_ns, table.first_response_ns),
        server_queue_ns=rows.known(server.get("server_queue_ns")),
        server_compute_ns=rows.known(server.get("server_compute_ns")),
        server_total_ns=rows.between(received, sent),
        network_ns=rows.outside_server(received, sent),
        to_sut_ns=Distribution.of(to_sut),
        from_sut_ns=Distribution.of(from_sut),
        hop_error_ns=int(error.max()) if len(error) else None,
    )
