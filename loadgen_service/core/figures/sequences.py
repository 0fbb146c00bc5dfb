"""What became of the sequences of a series: how many were played to their end, cut, failed or lost.

Decides by the requests' statuses; judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen_service.core.facts.run import SeriesFacts
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.stats.percentiles import Distribution


@dataclass(frozen=True, slots=True)
class SequenceFigures:
    """Sequences that were begun: begun = completed + cut + failed + lost.

    ``completed``: every request of the plan was answered. ``cut``: ended early by the end of the
    series. ``failed``: a request failed or timed out, and the rest was not sent. ``lost``: a
    request is lost, or its worker died while it was live. ``duration_ns``: of completed ones, from
    the first request's scheduled instant to the last answer; ``request_count``: their requests.
    """

    begun: int
    completed: int
    cut: int
    failed: int
    lost: int
    duration_ns: Distribution | None
    request_count: Distribution | None


def sequence_figures(
    plan: SeriesPlan, table: RequestTable, facts: SeriesFacts
) -> SequenceFigures | None:
    """Figures of a series' sequences; None where none were played."""
    play = plan.sequences
    if play is None:
        return None
    numbers = play.numbers_of(table.row)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    if not len(starts):
        return SequenceFigures(0, 0, 0, 0, 0, None, None)
    lengths = play.lengths(numbers[starts])
    answered = np.add.reduceat((table.status == Status.COMPLETED).astype(np.int64), starts)
    completed = answered == lengths
    failed = _any(np.isin(table.status, (Status.FAILED, Status.TIMED_OUT)), starts)
    dead = [worker.worker_index for worker in facts.workers if worker.lost]
    lost = _any(table.status == Status.LOST, starts)
    lost |= ~completed & ~failed & np.isin(table.worker_index[starts], dead)
    failed &= ~lost
    ends = np.maximum.reduceat(table.completed_ns, starts)
    return SequenceFigures(
        begun=len(starts),
        completed=int(completed.sum()),
        cut=int((~completed & ~failed & ~lost).sum()),
        failed=int(failed.sum()),
        lost=int(lost.sum()),
        duration_ns=Distribution.of((ends - table.scheduled_ns[starts])[completed]),
        request_count=Distribution.of(lengths[completed]),
    )


def _any(which: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether any row of each sequence is one of ``which``."""
    found: np.ndarray = np.logical_or.reduceat(which, starts)
    return found
