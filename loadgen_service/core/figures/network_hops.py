"""The two network halves of a request: issued -> SUT received, and SUT sent -> completed.

Each mixes the worker's clock with the SUT's, so each is worth no more than the offset between them:
measured before and after the load, a straight line between, with its error beside every figure.
Pure; who measured the clocks, and how, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from loadgen_service.core.facts.run import ClockFacts, SeriesFacts
from loadgen_service.core.plan.mt19937 import Int64Array
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.request_table import RequestTable

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
