"""The worker's loop where the official LoadGen issues: its queries go out, its samples come back.

Sending, recording and deadlines are ``SeriesLoop``'s. This adds the hand-over from LoadGen's thread
and the completions to it; whatever happens to a request, LoadGen is told of its end exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from loadgen_service.core.pacing.external_pacer import OfficialPacer
from loadgen_service.core.records.columns import Status
from loadgen_service.qsl.logged_bytes import answer_bytes, piece_bytes
from loadgen_service.sut.interface import DONE, MESSAGE, Event, SystemUnderTest
from loadgen_service.sut.read_coalescer import Read
from loadgen_service.worker.issue.loop import TURN_COUNT_MAX, SeriesLoop
from loadgen_service.worker.issue.shard import Shard
from loadgen_service.worker.official.loadgen_thread import OfficialTest
from loadgen_service.worker.records.record_log import RecordLog

OTHER_SAMPLES: Final = "the official LoadGen issued a sample that the plan does not have there"


class OfficialLoop(SeriesLoop):
    """One series of an ``OfficialTest``. ``window``: requests out at once, where LoadGen gives all
    at one instant. ``samples``: of every position in the plan. ``wants_data``: LoadGen may log
    answers. ``wants_tokens``: it is told of first pieces and of token counts.
    """

    def __init__(
        self,
        *,
        test: OfficialTest,
        pacer: OfficialPacer,
        samples: Sequence[int],
        window: int,
        wants_data: bool,
        wants_tokens: bool,
        shard: Shard,
        suts: Sequence[SystemUnderTest],
        log: RecordLog,
        clock: Callable[[], int],
        deadline_ns: int,
        on_all_issued: Callable[[], None],
        on_finished: Callable[[], None],
        keep_responses: bool | bytes,
    ) -> None:
        super().__init__(
            pacer=pacer,
            shard=shard,
            suts=suts,
            log=log,
            clock=clock,
            deadline_ns=deadline_ns,
            on_all_issued=on_all_issued,
            on_finished=on_finished,
            keep_responses=keep_responses,
        )
        self.test = test
        self._counts = pacer
        self._plan_samples = samples
        self._window = window
        self._wants_data = wants_data
        self._wants_tokens = wants_tokens
        self._ids: dict[int, int] = {}
        self._handed: deque[tuple[int, range]] = deque()
        self.is_cut = False

    # ------------------------------------------------------------ from LoadGen
    def on_wake(self) -> None:
        """The start has come, or LoadGen's thread has handed something over."""
        now_ns = self._clock()
        if not self._started:
            if now_ns < self._t0_ns:
                self._arm(self._t0_ns)
                return
            self._started = True
            self.late_start_ns = now_ns - self._t0_ns
            self.test.let_go(self._shard.series_index)
        self._issue_due(now_ns)

    def take_over(self) -> None:
        """Number what LoadGen's thread handed over. After a cut it is answered, and not sent."""
        self.test.acknowledge()
        handed = self.test.handed
        while handed:
            released_ns, samples = handed.popleft()
            if samples is None:
                self._counts.finish()
            elif self.is_cut:
                self.test.complete([sample.id for sample in samples])
            else:
                self._number(released_ns, samples)

    def _number(self, released_ns: int, samples: Sequence[Any]) -> None:
        first = self._counts.issued_count
        if not first:
            # LoadGen's clock starts right before its first query, which is due at once.
            self._t0_ns = released_ns
        known = self._plan_samples[first : first + len(samples)]
        if len(known) < len(samples) or any(
            sample.index != wanted for sample, wanted in zip(samples, known, strict=True)
        ):
            self.errors[(0, 0, OTHER_SAMPLES)] += 1
            self.test.complete([sample.id for sample in samples])
            self._cut("other_samples")
            return
        positions = self._counts.release(len(samples), released_ns - self._t0_ns)
        for position, sample in zip(positions, samples, strict=True):
            self._ids[position] = sample.id
        self._handed.append((released_ns, positions))

    def _issue_due(self, now_ns: int) -> None:
        self.take_over()
        if self._counts.ended_by == "failures":
            self._cut("failures")
        budget = min(TURN_COUNT_MAX, self._window - len(self._pending))
        while self._handed and budget > 0:
            released_ns, positions = self._handed[0]
            now = positions[: min(self._chunk_count, budget)]
            self.issued_count += len(now)
            self._issuer.issue(now, released_ns)
            budget -= len(now)
            if len(now) == len(positions):
                self._handed.popleft()
            else:
                self._handed[0] = (released_ns, positions[len(now) :])
        if self._handed:
            if len(self._pending) < self._window:
                assert self._waiter is not None
                self._waiter.soon()
            return
        self._look_for_end(now_ns)

    # ------------------------------------------------------------ to LoadGen
    def on_events(self, now_ns: int, events: Sequence[Event]) -> None:
        """Answers came: LoadGen hears of them first, then they are recorded."""
        if self._wants_tokens:
            self._tell_tokens(events)
        else:
            self._tell(events)
        super().on_events(now_ns, events)

    def on_reads(self, reads: Sequence[Read]) -> None:
        """LoadGen hears of each read by itself: its clock is read when it is told."""
        for now_ns, events in reads:
            self.on_events(now_ns, events)

    def _tell(self, events: Sequence[Event]) -> None:
        ids, pop = [], self._ids.pop
        answers: dict[int, bytes] = {}
        for event in events:
            if event[0] != DONE:
                continue
            sample_id = pop(event[1], None)
            if sample_id is None:
                continue  # given up before
            ids.append(sample_id)
            if self._wants_data and not event[2] and event[3] is not None:
                answers[sample_id] = event[3]
        if ids:
            self.test.complete(ids, self._data_of(answers))

    def _tell_tokens(self, events: Sequence[Event]) -> None:
        """Each answer by itself: its pieces may be among the same events."""
        seen: dict[int, int] = {}
        for event in events:
            key = event[1]
            if event[0] == MESSAGE and key in self._ids:
                if key not in self._tokens.open and key not in seen:
                    data = piece_bytes(event[2]) if self._wants_data else b""
                    self.test.first_token(self._ids[key], data)
                seen[key] = seen.get(key, 0) + 1
            elif event[0] == DONE and key in self._ids:
                sample_id = self._ids.pop(key)
                usage = event[5] if len(event) > 5 else None
                pieces = len(self._tokens.open.get(key, ())) + seen.get(key, 0)
                count = usage[0] if usage else pieces
                answered = not event[2] and event[3] is not None
                data_of = self._data_of({sample_id: event[3]} if answered else {})
                self.test.complete([sample_id], data_of, (count,))

    def _data_of(self, answers: dict[int, bytes]) -> Callable[[int], bytes] | None:
        if not self._wants_data:
            return None

        def data(sample_id: int) -> bytes:
            message = answers.get(sample_id)
            return b"" if message is None else answer_bytes(message)

        return data

    def _give_up(self, key: int, status: Status, code: int, text: str) -> None:
        super()._give_up(key, status, code, text)
        sample_id = self._ids.pop(key, None)
        if sample_id is not None:
            self.test.complete([sample_id], self._data_of({}))

    # ------------------------------------------------------------ the end
    def stop(self, stop_ns: int, reason: str = "stop") -> None:
        """Send nothing more, now: LoadGen cannot be told to stop, so the rest is only answered."""
        self._cut(reason)
        if self._started:
            self._issue_due(self._clock())

    def _cut(self, reason: str) -> None:
        if self.is_cut:
            return
        self.is_cut = True
        self._counts.ended_by = reason
        self.test.abandon()
        unsent = [self._ids.pop(key) for _, positions in self._handed for key in positions]
        self._handed.clear()
        self._counts.outstanding -= len(unsent)
        if unsent:
            self.test.complete(unsent)
        self.take_over()
