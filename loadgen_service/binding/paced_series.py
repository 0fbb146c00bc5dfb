"""One series of a script under our pacer, in the thread of its test call. Records, and no verdict.

As in LoadGen the callback is called on this thread: a script that blocks in it delays what follows
and is charged for it. A sample that is never answered ends at its deadline.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgen_service.binding.answers import Answer, AnswerQueue
from loadgen_service.binding.handles import ScriptSut
from loadgen_service.binding.values import QuerySample
from loadgen_service.core.pacing.pacer import Pacer
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import COLUMNS, NEVER, REQUEST_COLUMNS, Status
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S

WAIT_S_MAX: Final = 0.05
"""Deadlines are looked at this often."""

Columns = dict[str, np.ndarray]


class PacedSeries:
    """``run`` issues the plan and returns when every sample has ended.

    ``first_id``: ids of samples count from here, so that a late answer of an earlier series is
    known as such. ``kept`` says of each position whether the bytes of its answer are kept.
    """

    def __init__(
        self,
        settings: Settings,
        plan: SeriesPlan,
        sut: ScriptSut,
        queue: AnswerQueue,
        first_id: int,
        kept: np.ndarray,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._sut = sut
        self._queue = queue
        self._first_id = first_id
        self._kept = kept
        self._pacer = Pacer(settings, plan, 0, 1)
        self._t0_ns = 0
        self._out: dict[int, tuple[int, int]] = {}
        self._first_ns: dict[int, int] = {}
        self._rows: dict[str, list[int]] = {name: [] for name in REQUEST_COLUMNS}
        self.responses: list[tuple[int, bytes]] = []
        self.errors: Counter[str] = Counter()
        self.start_unix_ns = 0

    @property
    def issued_count(self) -> int:
        """Samples handed to the script."""
        return self._pacer.issued_count

    @property
    def ended_by(self) -> str:
        """See ``Pacer``."""
        return self._pacer.ended_by

    @property
    def last_issue_ns(self) -> int:
        """Instant of the last issue since the start."""
        return max(self._rows["issued_ns"], default=NEVER)

    def wants(self, sample_id: int) -> bool:
        """Whether the bytes of this sample's answer are kept."""
        position = sample_id - self._first_id
        return 0 <= position < len(self._kept) and bool(self._kept[position])

    def run(self) -> None:
        """Issue, flush, and wait for the answers within their deadlines."""
        self.start_unix_ns, self._t0_ns = time.time_ns(), time.monotonic_ns()
        while not self._pacer.is_done(self._now_ns()):
            ready = self._pacer.take(self._now_ns())
            if ready:
                self._issue(ready)
            self._settle(0.0 if ready else self._wait_s())
        self._sut.flush()
        while self._out:
            self._settle(WAIT_S_MAX)

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._t0_ns

    def _wait_s(self) -> float:
        wake_ns = self._pacer.wake_ns()
        if wake_ns is None:
            return WAIT_S_MAX
        return min(WAIT_S_MAX, max(0.0, (wake_ns - self._now_ns()) / NS_PER_S))

    # ------------------------------------------------------------ issuing
    def _issue(self, positions: Sequence[int]) -> None:
        """One call a query; overdue ones in one call where they coalesce."""
        plan = self._plan
        whole = self._settings.coalesce_queries or SCENARIOS[plan.scenario].pulled
        size = len(positions) if whole else plan.requests_per_query
        for start in range(0, len(positions), size):
            now_ns = self._now_ns()
            part = positions[start : start + size]
            samples = []
            for position in part:
                self._out[position] = (now_ns, now_ns)
                index = int(plan.samples[position])
                samples.append(QuerySample(self._first_id + position, index))
            self._sut.issue(samples)

    # ------------------------------------------------------------ settling
    def _settle(self, timeout_s: float) -> None:
        completed = 0
        for answer in self._queue.get(timeout_s):
            completed += self._take(answer)
        if completed:
            self._pacer.complete(completed, self._now_ns())
        self._give_up()

    def _take(self, answer: Answer) -> bool:
        position = answer.sample_id - self._first_id
        if position not in self._out:
            self.errors["a sample was answered that is not outstanding"] += 1
            return False
        now_ns = answer.now_ns - self._t0_ns
        if answer.is_first:
            self._first_ns.setdefault(position, now_ns)
            return False
        self._add_row(position, now_ns, Status.COMPLETED, answer.token_count)
        if answer.content is not None:
            self.responses.append((position, answer.content))
        return True

    def _give_up(self) -> None:
        oldest_ns = self._now_ns() - self._settings.deadline_ns
        late = []
        for position, (_, issued_ns) in self._out.items():
            if issued_ns > oldest_ns:
                break  # in the order of their issue: none behind is older
            late.append(position)
        for position in late:
            self._add_row(position, NEVER, Status.TIMED_OUT, 0)
            self.errors["deadline passed, no QuerySamplesComplete"] += 1
        if late:
            self._pacer.fail(len(late), self._now_ns())

    def _add_row(self, position: int, now_ns: int, status: Status, token_count: int) -> None:
        released_ns, issued_ns = self._out.pop(position)
        plan, rows = self._plan, self._rows
        query = position // plan.requests_per_query
        scheduled_ns = (
            released_ns if SCENARIOS[plan.scenario].closed else int(plan.scheduled_ns[query])
        )
        first_ns = self._first_ns.pop(position, now_ns)
        values = {
            "row": position,
            "scheduled_ns": scheduled_ns,
            "released_ns": released_ns,
            "issued_ns": issued_ns,
            "first_response_ns": first_ns,
            "completed_ns": now_ns,
            "status": int(status),
            "token_count": token_count,
        }
        for column in COLUMNS:
            if column.name in rows:
                rows[column.name].append(values.get(column.name, column.expected or 0))

    def columns(self) -> Columns:
        """The record table of the series, in order of the endings."""
        return {
            name: np.array(self._rows[name], dtype=kind) for name, kind in REQUEST_COLUMNS.items()
        }
