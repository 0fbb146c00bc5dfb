"""The pacer of sequences: a request is released once the one before it in its sequence is answered.

A closed loop whose slots play one sequence after another. Holds no clock, knows no payload; unlike
other pacers it must hear which request ended, and what it releases is no prefix: rows, not
positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from loadgen_service.core.pacing.pacer import NO_LIMIT, Pacer
from loadgen_service.core.plan.series import SeriesPlan
from loadgen_service.core.settings import Settings

MOST_AT_ONCE: Final = 128
"""Requests released by one ``take``: a turn of the loop, so that none is left over when it ends."""


class Step(NamedTuple):
    """Where a released row stands in its sequence. ``last``: the row that ends the sequence,
    earlier than planned where the run ends before it."""

    first: int
    last: int
    sequence_id: int


class SequencePacer(Pacer):
    """Paces one worker's sequences: numbers j, j + k, j + 2k ... in order, ``window`` at a time.

    When the series has to end, every live sequence gets one more request that ends it. A sequence
    whose request failed is over: nothing more of it is sent.
    """

    __slots__ = (
        "_ending",
        "_live",
        "_next",
        "_number_end",
        "_play",
        "_ready",
        "_stride",
        "_to_come",
    )

    def __init__(
        self, settings: Settings, plan: SeriesPlan, worker_index: int, worker_count: int
    ) -> None:
        super().__init__(settings, plan, worker_index, worker_count)
        if plan.sequences is None:
            raise ValueError("the plan has no sequences")
        self._play = plan.sequences
        self._next, self._stride = worker_index, worker_count
        most_rows = plan.effective.max_query_count
        self._number_end = self._play.count_within(most_rows) if most_rows else NO_LIMIT
        self._live: dict[int, Step] = {}
        self._ready: deque[tuple[int, Step]] = deque()
        self._to_come = 0
        self._ending = ""
        self._look_for_end()

    def step_of(self, row: int) -> Step:
        """Where a row that was released and has not ended stands in its sequence."""
        return self._live[row]

    def note_end(self, row: int, completed: bool) -> None:
        """A released request ended. Tell this before ``complete`` or ``fail`` count it."""
        step = self._live.pop(row)
        if row == step.last:
            return
        if completed:
            self._ready.append((row + 1, step))
        else:
            self._to_come -= 1

    def take(self, now_ns: int) -> Sequence[int]:
        """Rows to issue now, at most MOST_AT_ONCE; see ``Pacer.take``."""
        if not self._ending:
            self._look_for_reason(now_ns)
        if self.ended_by or now_ns < self._not_before_ns:
            return ()
        ready = self._ready
        rows = [self._go_on(*ready.popleft()) for _ in range(min(len(ready), MOST_AT_ONCE))]
        room = min(self._room(), MOST_AT_ONCE - len(rows))
        while room > 0 and self._may_begin():
            rows.append(self._begin())
            room -= 1
        self._position += len(rows)
        self.outstanding += len(rows)
        self._look_for_end()
        return rows

    def wake_ns(self) -> int | None:
        """See ``Pacer.wake_ns``."""
        if self.ended_by:
            return None
        if self._ready or (self._may_begin() and self._room() > 0):
            return (
                self._not_before_ns if self._ending else min(self._not_before_ns, self._stop_ns + 1)
            )
        return None if self._ending or self._stop_ns == NO_LIMIT else self._stop_ns + 1

    def is_done(self, now_ns: int) -> bool:
        """See ``Pacer.is_done``."""
        if not self._ending:
            self._look_for_reason(now_ns)
        self._look_for_end()
        return bool(self.ended_by)

    def _room(self) -> int:
        """Sequences that may begin beside the live ones."""
        return self._share.window - len(self._live) - len(self._ready)

    def _may_begin(self) -> bool:
        return not self._ending and self._next < self._number_end

    def _begin(self) -> int:
        first, last = self._play.span(self._next)
        self._live[first] = Step(first, last, self._play.id_of(self._next))
        self._next += self._stride
        self._to_come += first < last
        return first

    def _go_on(self, row: int, step: Step) -> int:
        if self._ending:
            step = step._replace(last=row)
        self._live[row] = step
        self._to_come -= row == step.last
        return row

    def _look_for_reason(self, now_ns: int) -> None:
        """Whether the sequences have to be ended, and why."""
        share = self._share
        if now_ns > self._stop_ns:
            self._ending = self._stop_reason
        elif share.max_duration_ns and now_ns > share.max_duration_ns:
            self._ending = "max_duration"
        elif self._position >= share.minimum_count and now_ns >= share.target_ns:
            self._ending = "minima"

    def _look_for_end(self) -> None:
        if not self.ended_by and not self._to_come and not self._may_begin():
            self.ended_by = self._ending or self._share.last_row_reason
