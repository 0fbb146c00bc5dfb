"""What became of the sequences of a series: how many were played to their end, cut, failed or lost.

Decides by the requests' statuses; judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen_service.core.columns import Status
from loadgen_service.core.percentiles import Distribution
from loadgen_service.core.plan import SeriesPlan
from loadgen_service.core.table import RequestTable


@dataclass(frozen=True, slots=True)
class SequenceFigures:
    """Sequences that were begun: begun = completed + cut + failed + lost.

    ``completed``: every request of the plan was answered. ``cut``: ended early by the end of the
    series. ``failed``: a request failed or timed out, and the rest was not sent. ``lost``: a
    request is lost. ``duration_ns``: of completed ones, from the first request's scheduled instant
    to the last answer; ``request_count``: requests of completed ones.
    """

    begun: int
    completed: int
    cut: int
    failed: int
    lost: int
    duration_ns: Distribution | None
    request_count: Distribution | None


def sequence_figures(plan: SeriesPlan, table: RequestTable) -> SequenceFigures | None:
    """Figures of a series' sequences; None where none were played."""
    play = plan.sequences
    if play is None:
        return None
    numbers = play.numbers_of(table.row)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    if not len(starts):
        return SequenceFigures(0, 0, 0, 0, 0, None, None)
    lost = _any(table.status == Status.LOST, starts)
    failed = ~lost & _any(np.isin(table.status, (Status.FAILED, Status.TIMED_OUT)), starts)
    lengths = play.lengths(numbers[starts])
    answered = np.add.reduceat((table.status == Status.COMPLETED).astype(np.int64), starts)
    completed = answered == lengths
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
