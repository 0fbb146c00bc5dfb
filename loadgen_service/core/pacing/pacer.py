"""The pacer: which requests of one worker's shard may be issued now, and when to ask again.

Holds no clock; every instant is an argument, in ns since the common start. Decides by counts and
instants alone: open loops follow the schedule, closed loops follow completions (LoadGen,
specification 1.7). Refuses to know payloads, SUTs and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen_service.core.plan.mt19937 import Int64Array
from loadgen_service.core.plan.series import SeriesPlan, shard_rows
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings

FIRST_BACKOFF_NS: Final = 1_000_000
LONGEST_BACKOFF_NS: Final = 1_000_000_000
# 1 ms doubling up to 1 s: a closed loop whose SUT answers nothing but failures ends after 7 s.
FAILURE_STREAK_ROUNDS: Final = 16
NO_LIMIT: Final = 1 << 62
_NOTHING: Final = range(0)


@dataclass(frozen=True, slots=True)
class _Share:
    """One worker's share of a series, in requests.

    ``row_count``: rows that exist for it. ``window``: how many may be outstanding. ``unit``: how
    many are issued together (one query of a closed loop). ``minimum_count`` and ``target_ns``:
    where a closed loop ends by itself; a minimum of NO_LIMIT leaves that to the coordinator.
    ``most_outstanding``: an open loop with more than these ends. ``coalesce``: overdue queries
    count as one issue.
    """

    row_count: int
    last_row_reason: str
    due_ns: Int64Array | None
    closed: bool
    window: int
    unit: int
    minimum_count: int
    target_ns: int
    max_duration_ns: int
    most_outstanding: int
    coalesce: bool


class Pacer:
    """Paces one worker's shard. Positions are indexes into its ``shard_rows``, ascending.

    ``ended_by`` is empty while more may be issued, then one of plan, minima, max_duration,
    max_query_count, max_async_queries, ran_out, failures, stop. ``outstanding``: requests released
    and not yet reported by ``complete`` or ``fail``.
    """

    __slots__ = (
        "_due_ns",
        "_judge_from",
        "_not_before_ns",
        "_position",
        "_share",
        "_stop_ns",
        "_stop_reason",
        "_streak",
        "ended_by",
        "outstanding",
    )

    def __init__(
        self, settings: Settings, plan: SeriesPlan, worker_index: int, worker_count: int
    ) -> None:
        share = _share(settings, plan, worker_index, worker_count)
        self._share = share
        # A memoryview hands out plain integers at half the price of a numpy element.
        self._due_ns = None if share.due_ns is None else share.due_ns.data
        self._position = 0
        self._judge_from = _judge_from(share)
        self._not_before_ns = 0
        self._streak = 0
        self._stop_ns = NO_LIMIT
        self._stop_reason = "stop"
        self.outstanding = 0
        self.ended_by = "" if share.row_count else share.last_row_reason

    @property
    def issued_count(self) -> int:
        """Requests released so far: always a prefix of the shard."""
        return self._position

    def take(self, now_ns: int) -> Sequence[int]:
        """Positions to issue now; empty if none. What is returned counts as issued at ``now_ns``.

        Ask again after issuing: a closed loop or a reached limit may allow more at once.
        """
        if self.ended_by or now_ns > self._stop_ns or now_ns < self._not_before_ns:
            self.is_done(now_ns)  # names the reason of a stop that has come
            return _NOTHING
        first = self._position
        end = self._room_end(first) if self._due_ns is None else self._due_end(first, now_ns)
        if end == first:
            return _NOTHING
        self._position = end
        self.outstanding += end - first
        if end >= self._judge_from:
            self._judge_end(now_ns)
        return range(first, end)

    def scheduled_ns(self, position: int, now_ns: int) -> int:
        """When the request at ``position`` is due: the plan's instant, offline the start.

        In a closed loop it is ``now_ns``, the instant given to the ``take`` that released it.
        """
        if self._due_ns is not None:
            return self._due_ns[position]
        return now_ns if self._share.closed else 0

    def complete(self, count: int, now_ns: int) -> None:
        """``count`` requests ended well; opens closed loops and ends a streak of failures."""
        self._settle(count)
        self._streak = 0

    def fail(self, count: int, now_ns: int) -> None:
        """``count`` requests failed. Closed loops wait ever longer, and stop after a streak.

        Open loops follow their schedule whatever becomes of it.
        """
        self._settle(count)
        if not self._share.closed:
            return
        self._streak += count
        rounds = self._streak // self._share.window
        if rounds >= FAILURE_STREAK_ROUNDS:
            self.ended_by = self.ended_by or "failures"
        elif rounds:
            backoff_ns = min(FIRST_BACKOFF_NS << (rounds - 1), LONGEST_BACKOFF_NS)
            self._not_before_ns = max(self._not_before_ns, now_ns + backoff_ns)

    def wake_ns(self) -> int | None:
        """Next instant at which ``take`` may give something, or may find that a stop has come.

        An instant in the past means at once; None: only after a completion, or never again.
        """
        if self.ended_by:
            return None
        if self._due_ns is not None:
            return min(self._due_ns[self._position], self._stop_ns + 1)
        if self._share.window - self.outstanding < self._share.unit:
            return None if self._stop_ns == NO_LIMIT else self._stop_ns + 1
        return min(self._not_before_ns, self._stop_ns + 1)

    def stop(self, stop_ns: int, reason: str = "stop") -> None:
        """Issue nothing after ``stop_ns``; of several stops the earliest counts."""
        if stop_ns < self._stop_ns:
            self._stop_ns = stop_ns
            self._stop_reason = reason

    def is_done(self, now_ns: int) -> bool:
        """Nothing more will be issued. Requests may still be outstanding."""
        if not self.ended_by and now_ns > self._stop_ns:
            self.ended_by = self._stop_reason
        return bool(self.ended_by)

    def _room_end(self, first: int) -> int:
        """End of what fits the window, in whole units."""
        share = self._share
        room = share.window - self.outstanding
        if share.unit > 1:
            room -= room % share.unit
        if room <= 0:
            return first
        end = first + room
        return end if end < share.row_count else share.row_count

    def _due_end(self, first: int, now_ns: int) -> int:
        """End of what is due, as far as LoadGen's limits let it be issued."""
        share, due_ns = self._share, self._due_ns
        assert due_ns is not None
        last = share.row_count
        if not self._judge_from and not share.coalesce:
            # LoadGen tests its limits after every query: the first to break one is the last.
            last = min(last, first + share.most_outstanding - self.outstanding + 1)
            if share.max_duration_ns and now_ns > share.max_duration_ns:
                last = min(last, first + 1)
        end = first
        while end < last and due_ns[end] <= now_ns:
            end += 1
        return end

    def _judge_end(self, now_ns: int) -> None:
        """LoadGen's stop rules, in its order (1.7)."""
        share = self._share
        if self.outstanding > share.most_outstanding:
            self.ended_by = "max_async_queries"
        elif self._position >= share.minimum_count and now_ns >= share.target_ns:
            self.ended_by = "minima"
        elif self._position >= share.row_count:
            self.ended_by = share.last_row_reason
        elif share.max_duration_ns and now_ns > share.max_duration_ns:
            self.ended_by = "max_duration"

    def _settle(self, count: int) -> None:
        if count > self.outstanding:
            raise ValueError(f"{count} requests ended, but only {self.outstanding} are outstanding")
        self.outstanding -= count


def _judge_from(share: _Share) -> int:
    """Position from which a release may be the last; before it there is nothing to judge."""
    if share.max_duration_ns or share.most_outstanding < NO_LIMIT:
        return 0
    return min(share.minimum_count, share.row_count)


def worker_share(whole: int, worker_index: int, worker_count: int) -> int:
    """Part of ``whole`` for one worker: whole // k, the remainder to the first workers."""
    return whole // worker_count + (worker_index < whole % worker_count)


def _share(settings: Settings, plan: SeriesPlan, worker_index: int, worker_count: int) -> _Share:
    row, wanted = SCENARIOS[plan.scenario], plan.effective
    rows = shard_rows(plan, worker_index, worker_count, settings)
    row_count = len(rows)
    cut = plan.generated_query_count > plan.query_count
    if plan.unbounded and wanted.max_query_count:
        row_count, cut = len(range(worker_index, wanted.max_query_count, worker_count)), True
    open_loop = not row.closed and not row.pulled
    async_limit = wanted.max_async_queries if row.due == "arrivals" else 0
    return _Share(
        row_count=row_count,
        last_row_reason=_last_row_reason(plan, cut),
        due_ns=np.ascontiguousarray(plan.scheduled_ns[_as_index(rows)]) if open_loop else None,
        closed=row.closed,
        window=_window(settings, plan, worker_index, worker_count),
        unit=plan.requests_per_query if row.one_worker else 1,
        minimum_count=_minimum_count(plan),
        target_ns=wanted.target_duration_ns,
        max_duration_ns=0 if row.pulled else wanted.max_duration_ns,
        most_outstanding=max(1, worker_share(async_limit, worker_index, worker_count))
        if async_limit
        else NO_LIMIT,
        coalesce=settings.coalesce_queries,
    )


def _as_index(rows: range | Int64Array) -> slice | Int64Array:
    # A slice avoids an index array of the size of the plan.
    return slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows


def _window(settings: Settings, plan: SeriesPlan, worker_index: int, worker_count: int) -> int:
    row = SCENARIOS[plan.scenario]
    if row.one_worker:
        return plan.requests_per_query
    if row.pulled:
        whole = settings.offline_window * max(1, len(settings.sut))
    elif row.closed:
        whole = settings.concurrency
    else:
        return NO_LIMIT
    return max(1, worker_share(whole, worker_index, worker_count))


def _minimum_count(plan: SeriesPlan) -> int:
    """Requests after which a closed loop may end by itself.

    Accuracy sends its list to the end; a measured concurrency series is ended by the coordinator,
    its warm-up by each worker.
    """
    row = SCENARIOS[plan.scenario]
    kind = plan.effective.kind
    if kind == "warmup" and row.closed:
        return 1
    if kind == "performance" and row.one_worker:
        return plan.effective.min_query_count * plan.requests_per_query
    return NO_LIMIT


def _last_row_reason(plan: SeriesPlan, cut: bool) -> str:
    if cut:
        return "max_query_count"
    ends_itself = SCENARIOS[plan.scenario].one_worker and plan.effective.kind == "performance"
    return "ran_out" if ends_itself else "plan"
