"""Which rows of an endless plan of sequences each worker has issued: no prefix, but nearly one.

A worker begins its sequences in order, so between the rows it recorded there are gaps where the
live ones stand. Joins records with what the workers said; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from loadgen_service.core.facts.run import SeriesFacts, WorkerFacts
from loadgen_service.core.pacing.pacer import worker_share
from loadgen_service.core.plan.mt19937 import Int64Array
from loadgen_service.core.plan.sequences import SequencePlay
from loadgen_service.core.records.columns import Status


def issued_rows(
    play: SequencePlay,
    columns: Mapping[str, npt.NDArray[np.generic]],
    facts: SeriesFacts,
    worker_count: int,
    concurrency: int,
) -> list[Int64Array]:
    """Rows of each worker that were recorded or must have been issued, ascending.

    ``columns``: those of all records, of which ``row`` and ``status`` are read. Where a worker says
    that it issued more than was recorded, its gaps are filled first: earlier requests of a
    sequence, earlier sequences. Of the rest only the number is known; the rows are those that it
    would have issued next.
    """
    known = {worker.worker_index: worker for worker in facts.workers}
    recorded = np.asarray(columns["row"]).astype(np.int64)
    status = np.asarray(columns["status"])
    rows, first = np.unique(recorded, return_index=True)
    first, rows = first[rows >= 0], rows[rows >= 0]
    ended = status[first] != Status.COMPLETED
    owner = play.numbers_of(rows) % worker_count
    issued = []
    for index in range(worker_count):
        mine = owner == index
        said = known.get(index, WorkerFacts(worker_index=index)).issued_count
        window = max(1, worker_share(concurrency, index, worker_count))
        worker = _Worker(play, index, worker_count, window)
        issued.append(worker.issued(rows[mine], ended[mine], said))
    return issued


class _Worker:
    """One worker's sequences: numbers ``index``, ``index + count``, ..."""

    def __init__(self, play: SequencePlay, index: int, count: int, window: int) -> None:
        self._play = play
        self._index = index
        self._count = count
        self._window = window

    def issued(self, rows: Int64Array, ended: npt.NDArray[np.bool_], said: int) -> Int64Array:
        """``rows`` recorded (``ended``: those that failed), and what else is issued for sure."""
        # Who issued n requests began n sequences at most: a row beyond them is no word to go by.
        beyond = self._index + self._count * max(said, len(rows))
        numbers = self._play.numbers_of(rows)
        sane, stopped = rows[numbers < beyond], np.unique(numbers[ended])
        holes = self._holes(sane)
        missing = said - len(rows) - len(holes)
        if missing > 0:
            further = self._further(np.union1d(sane, holes), stopped)
            more = [row for row, _ in zip(further, range(missing), strict=False)]
            holes = np.concatenate([holes, np.array(more, dtype=np.int64)])
        return np.union1d(rows, holes)

    def _newest(self, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Sequences of ascending ``rows``, and the last row of each that is among them."""
        numbers = self._play.numbers_of(rows)
        begins = np.flatnonzero(np.diff(numbers, prepend=-1))
        return numbers[begins], np.maximum.reduceat(rows, begins)

    def _holes(self, rows: Int64Array) -> Int64Array:
        """Rows without a record before one with a record: of its sequence, or a whole one."""
        if not len(rows):
            return rows
        begun, newest = self._newest(rows)
        all_begun = np.arange(self._index, begun[-1] + 1, self._count, dtype=np.int64)
        firsts = self._play.first_rows(all_begun)
        # Of a sequence without any record, the first request is all that is sure.
        lasts = firsts.copy()
        lasts[np.searchsorted(all_begun, begun)] = newest
        if int((lasts - firsts + 1).sum()) == len(rows):
            return rows[:0]
        spans = [np.arange(a, b + 1) for a, b in zip(firsts, lasts, strict=True)]
        holes: Int64Array = np.setdiff1d(np.concatenate(spans), rows)
        return holes

    def _further(self, rows: Int64Array, stopped: Int64Array) -> Iterator[int]:
        """What the worker would issue next, round by round over its live sequences."""
        live: list[tuple[int, int]] = []
        upcoming = self._index
        if len(rows):
            begun, newest = self._newest(rows)
            lasts = self._play.first_rows(begun) + self._play.lengths(begun) - 1
            is_live = (newest < lasts) & ~np.isin(begun, stopped)
            live += zip((newest + 1)[is_live].tolist(), lasts[is_live].tolist(), strict=True)
            upcoming = int(begun[-1]) + self._count
        while True:
            while len(live) < self._window:
                live.append(self._play.span(upcoming))
                upcoming += self._count
            yield from (row for row, _ in live)
            live = [(row + 1, last) for row, last in live if row < last]


def sequence_columns(play: SequencePlay, rows: Int64Array) -> dict[str, Int64Array]:
    """``sequence_id`` of each row, and its place in the sequence from 0 on."""
    numbers = play.numbers_of(rows)
    return {
        "sequence_id": play.id_start + numbers * play.id_step,
        "sequence_step": rows - play.first_rows(numbers),
    }


SEQUENCE_COLUMNS: Sequence[str] = ("sequence_id", "sequence_step")
