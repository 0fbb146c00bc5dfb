"""The meeting point: clock, pacer, systems under test and record log, one series long.

It reads the clock once a wake-up and asks the pacer what is due. Whatever a request needs was made
before: issuing is a lookup and a hand-over, completing is five numbers written. It knows no socket,
timer or coordinator. Absolute monotonic ns inside; records count from the common start.

Requests that a SUT has certainly not processed: they are sent again, as gRPC's clients do.

HTTP/2 says it of a stream above GOAWAY's last one, and of one reset with REFUSED_STREAM (RFC 9113
8.7). Nothing else is ever sent twice. A request keeps the deadline of its first sending.

What is read in an answer once its instant is recorded: its content and the SUT's timings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from loadgen_service.core.pacing.pacer import Pacer
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.sut.interface import (
    CODE_CANCELLED,
    DONE,
    ISSUED,
    MESSAGE,
    REFUSED,
    TAKEN,
    Cell,
    Event,
    SystemUnderTest,
    Usage,
)
from loadgen_service.sut.kserve.server_timings import find_timings
from loadgen_service.sut.read_coalescer import Read
from loadgen_service.worker.issue.issuer import Issuer
from loadgen_service.worker.issue.shard import NO_OUTPUT, Shard
from loadgen_service.worker.issue.timers import Waiter
from loadgen_service.worker.records.record_log import Columns, RecordLog
from loadgen_service.worker.records.token_log import SealedTokens, TokenLog


class Resends:
    """What is to be sent again. ``pending``: the cell of each open request, by position."""

    __slots__ = ("_issuer", "_pending", "_refused", "count", "first_issued_ns")

    def __init__(self, issuer: Issuer, pending: dict[int, Cell]) -> None:
        self._issuer = issuer
        self._pending = pending
        self._refused: list[int] = []
        self.first_issued_ns: dict[int, int] = {}
        """Of open requests that were sent again: when they left first."""
        self.count = 0
        """Requests sent again, each time they were."""

    def note(self, key: int) -> None:
        """A SUT says that it has not processed the request."""
        self._refused.append(key)

    def send(self) -> None:
        """Hand over again what was noted, unless it was given up meanwhile."""
        if not self._refused:
            return
        keys, self._refused = self._refused, []
        for key in keys:
            cell = self._pending.get(key)
            if cell is not None:
                self.first_issued_ns.setdefault(key, cell[ISSUED])
                self._pending[key] = self._issuer.issue_again(key, cell[TAKEN])
                self.count += 1

    def forget(self, key: int) -> None:
        """The request has ended."""
        self.first_issued_ns.pop(key, None)


TIMINGS_MISSED_MAX: Final = 64
"""So many first answers without server timings, and no more are searched."""

Answer = tuple[int, int, bytes]
"""Place in the record log, position, message."""


class AnswerReader:
    """Keeps responses and notes server timings; ``is_reading`` is false once neither is wanted.

    ``responses``: position and message of those kept and not taken yet, ``response_bytes`` their
    size.
    """

    def __init__(self, log: RecordLog, keep: bool | bytes) -> None:
        """``keep``: all, none, or those of the positions where a byte is not 0."""
        self._log = log
        self._keeps = bool(keep)
        self._ones = keep if isinstance(keep, bytes) else None
        self._missed = 0
        self.is_reading = True
        self.responses: list[tuple[int, bytes]] = []
        self.response_bytes = 0

    def read(self, answers: Sequence[Answer]) -> None:
        """Look into answers whose rows are still in the log's block."""
        if self._keeps:
            ones = self._ones
            for _, key, message in answers:
                if ones is None or ones[key]:
                    self.responses.append((key, message))
                    self.response_bytes += len(message)
        if self._missed < TIMINGS_MISSED_MAX:
            self._note_timings(answers)

    def _note_timings(self, answers: Sequence[Answer]) -> None:
        for index, _, message in answers:
            timings = find_timings(message)
            if timings is None:
                self._missed += 1
                continue
            self._missed = 0
            self._log.note_timings(index, timings)
        self.is_reading = self._keeps or self._missed < TIMINGS_MISSED_MAX

    def take(self) -> list[tuple[int, bytes]]:
        """What was kept since the last call."""
        kept, self.responses, self.response_bytes = self.responses, [], 0
        return kept


CHUNK_COUNT: Final = 32
"""Requests for each SUT that are handed over together: their issue instant is one reading, and the
cost of a write is shared. It comes some 40 us after the first was composed."""

TURN_COUNT_MAX: Final = 128
"""Requests issued before the sockets are looked at again: answers wait no longer than that."""

ERROR_KINDS_MAX: Final = 64
"""Distinct failures told apart; a server that puts a number into its text must not fill memory."""

CODE_DEADLINE_EXCEEDED: Final = 4

_NOTHING: Final = range(0)

ErrorKind = tuple[int, int, str]
"""SUT, gRPC code, text."""


class SeriesLoop:
    """Issues one worker's shard of a series and records how each request ended.

    ``on_all_issued`` is called once, after the last hand-over; ``on_finished`` once, when every
    issued request has been answered or given up.
    """

    def __init__(
        self,
        *,
        pacer: Pacer,
        shard: Shard,
        suts: Sequence[SystemUnderTest],
        log: RecordLog,
        clock: Callable[[], int],
        deadline_ns: int,
        on_all_issued: Callable[[], None] = lambda: None,
        on_finished: Callable[[], None] = lambda: None,
        keep_responses: bool | bytes = False,
    ) -> None:
        """``keep_responses``: all, none, or those of the positions where a byte is not 0."""
        self._pacer = pacer
        self._shard = shard
        self._suts = suts
        self._log = log
        self._clock = clock
        self._deadline_ns = deadline_ns
        self._on_all_issued = on_all_issued
        self._on_finished = on_finished
        self.answers = AnswerReader(log, keep_responses)
        self._waiter: Waiter | None = None
        self._pending: dict[int, Cell] = {}
        self._ready: Sequence[int] = _NOTHING
        self._tokens = TokenLog()
        self._issuer = Issuer(shard, suts, self._pending)
        self.resends = Resends(self._issuer, self._pending)
        self._chunk_count = min(CHUNK_COUNT * len(suts), TURN_COUNT_MAX)
        self._t0_ns = 0
        self._started = False
        self._stop_ns = 1 << 62
        self._all_issued = False
        self.is_finished = False
        self.issued_count = 0
        self.completed_count = 0
        self.failed_count = 0
        self.timed_out_count = 0
        self.late_start_ns = 0
        self.peak_outstanding = 0
        """Most requests with the SUTs at once, looked at now and then."""
        self.errors: Counter[ErrorKind] = Counter()

    @property
    def outstanding_count(self) -> int:
        """Requests taken over by a SUT adapter and not settled."""
        return len(self._pending)

    @property
    def is_all_issued(self) -> bool:
        """Nothing more will be handed over."""
        return self._all_issued

    def start(self, t0_ns: int, waiter: Waiter) -> None:
        """Begin at ``t0_ns`` (absolute): nothing is issued before."""
        self._t0_ns = t0_ns
        self._waiter = waiter
        self._arm: Callable[[int | None], None] = waiter.arm
        self._log.begin_series(self._shard.series_index, self.finish_rows)
        waiter.arm(t0_ns)

    def finish_rows(self, columns: Columns) -> None:
        """Complete sealed rows of the record log."""
        self._shard.finish(columns, self._t0_ns)

    # ------------------------------------------------------------ wake-ups
    def on_wake(self) -> None:
        """The waiter's instant came."""
        now_ns = self._clock()
        if not self._started:
            if now_ns < self._t0_ns:
                self._arm(self._t0_ns)
                return
            self._started = True
            self.late_start_ns = now_ns - self._t0_ns
        self._issue_due(now_ns)

    def on_events(self, now_ns: int, events: Sequence[Event]) -> None:
        """Answers came: record them all at this one instant, then issue what they opened."""
        while len(events) > (most := self._log.row_count):
            self.answers.read(self._settle(((now_ns, events[:most]),), most))
            events = events[most:]
        answers = self._settle(((now_ns, events),), len(events))
        if self._started:
            self._issue_due(now_ns)
        if answers:
            self.answers.read(answers)

    def on_reads(self, reads: Sequence[Read]) -> None:
        """Answers came in several reads: record each at its own instant, then issue what they
        opened. In a closed loop that is due since the first read: to gather was our choice."""
        event_count = sum([len(events) for _, events in reads])
        if event_count > self._log.row_count:
            for now_ns, events in reads:
                self.on_events(now_ns, events)
            return
        answers = self._settle(reads, event_count)
        if self._started:
            self._issue_due(reads[0 if self._shard.is_closed else -1][0])
        if answers:
            self.answers.read(answers)

    def sweep(self, now_ns: int) -> None:
        """Give up what is past its deadline, and look whether anything became due or done."""
        for sut in self._suts:
            sut.sweep(now_ns)
        self._note_outstanding()
        oldest_ns = now_ns - self._deadline_ns
        expired = []
        for key, cell in self._pending.items():
            if cell[TAKEN] > oldest_ns:
                break  # in the order in which they were taken: none behind is older
            since_ns = self.resends.first_issued_ns.get(key, cell[ISSUED])
            if since_ns <= oldest_ns:
                expired.append((key, since_ns))
        for key, since_ns in expired:
            why = "no answer" if since_ns != NEVER else "never handed over: no room at the SUT"
            text = f"deadline passed, {why}; --timeout-ms sets it"
            self._give_up(key, Status.TIMED_OUT, CODE_DEADLINE_EXCEEDED, text)
        if expired:
            self._pacer.fail(len(expired), now_ns - self._t0_ns)
        if self._started:
            self._issue_due(now_ns)

    def _note_outstanding(self) -> None:
        waiting_count = sum(sut.waiting_count for sut in self._suts)
        self.peak_outstanding = max(self.peak_outstanding, len(self._pending) - waiting_count)

    def stop(self, stop_ns: int, reason: str = "stop") -> None:
        """Issue nothing after ``stop_ns`` (since t0); what is out will be answered or given up."""
        self._pacer.stop(stop_ns, reason)
        self._stop_ns = min(self._stop_ns, stop_ns)
        self._note_outstanding()
        if self._started:
            self._issue_due(self._clock())

    def abandon(self, reason: str) -> None:
        """Give up everything that is out, now."""
        self.stop(0)
        keys = list(self._pending)
        for key in keys:
            self._give_up(key, Status.FAILED, CODE_CANCELLED, reason)
        if keys:
            self._pacer.fail(len(keys), self._clock() - self._t0_ns)
        self._look_for_end(self._clock())

    # ------------------------------------------------------------ issuing
    def _issue_due(self, now_ns: int) -> None:
        ready = self._ready
        if ready and now_ns - self._t0_ns > self._stop_ns:
            ready = self._ready = _NOTHING
        if not ready:
            ready = self._pacer.take(now_ns - self._t0_ns)
        if ready:
            self._ready = ready = self._issue_many(ready, now_ns)
            if ready:
                assert self._waiter is not None
                self._waiter.soon()
                return
        wake_ns = self._pacer.wake_ns()
        if wake_ns is not None:
            self._arm(self._t0_ns + wake_ns)
            return
        self._arm(None)
        if self._pacer.is_done(now_ns - self._t0_ns):
            self._look_for_end(now_ns)

    def _issue_many(self, ready: Sequence[int], now_ns: int) -> Sequence[int]:
        """Issue up to a turn's worth, in chunks; returns what is left."""
        chunk_count = self._chunk_count
        if len(ready) <= chunk_count:
            self._issue_chunk(ready, now_ns)
            return _NOTHING
        most = self.issued_count + TURN_COUNT_MAX
        while ready and self.issued_count < most:
            self._issue_chunk(ready[:chunk_count], now_ns)
            now_ns = self._clock()
            ready = ready[chunk_count:]
        return ready

    def _issue_chunk(self, positions: Sequence[int], now_ns: int) -> None:
        """Issue a SUT's requests in one write. Each write's are taken at its own instant, so that
        the time we need to compose a burst is charged to us and not to the transport."""
        issuer = self._issuer
        self.issued_count += len(positions)
        if issuer.has_one_sut:
            issuer.issue_to(0, positions, now_ns)
            return
        for sut, keys in issuer.by_sut(positions):
            issuer.issue_to(sut, keys, now_ns)
            now_ns = self._clock()

    # ------------------------------------------------------------ settling
    def _settle(self, reads: Sequence[Read], event_count: int) -> list[Answer]:
        """Record how requests ended; no more events than a block of the log has rows."""
        log = self._log
        if log.row_count - log.count < event_count:
            log.reserve(event_count)
        row, taken, issued, completed = log.row, log.released_ns, log.issued_ns, log.completed_ns
        pop = self._pending.pop
        look = self.answers.is_reading
        answers: list[Answer] = []
        index = first = log.count
        failed = 0
        extras = self._tokens.open, self._issuer.pulled, self.resends.first_issued_ns
        has_extras = any(extras)
        for now_ns, events in reads:
            for event in events:
                if event[0] != DONE:
                    if event[0] == MESSAGE:
                        self._tokens.note(event[1], now_ns, event[3] if len(event) > 3 else 0)
                        has_extras = True
                    elif event[0] == REFUSED:
                        self.resends.note(event[1])
                    continue
                key = event[1]
                cell = pop(key, None)
                if cell is None:
                    continue  # given up before
                row[index] = key
                taken[index], issued[index] = cell
                completed[index] = now_ns
                if event[2]:
                    self._note_failure(index, key, Status.FAILED, event[2], event[4])
                    failed += 1
                elif look and event[3] is not None:
                    answers.append((index, key, event[3]))
                if has_extras or len(event) > 5:
                    self._note_extras(index, key, event[5] if len(event) > 5 else None)
                index += 1
        log.count = index
        completed_count = index - first - failed
        if completed_count:
            self.completed_count += completed_count
            self._pacer.complete(completed_count, now_ns - self._t0_ns)
        if failed:
            self._pacer.fail(failed, now_ns - self._t0_ns)
        self.resends.send()
        return answers

    def _note_extras(self, index: int, key: int, usage: Usage | None = None) -> None:
        """What only streaming calls, pulled SUTs and requests that were sent again have."""
        self.resends.forget(key)
        stream = self._tokens.end(key, usage)
        if stream is not None:
            first_ns, self._log.token_count[index] = stream
            self._log.first_response_ns[index] = NO_OUTPUT if first_ns == NEVER else first_ns
        if self._shard.pulled:
            self._log.sut_index[index] = self._issuer.end(key)

    def _note_failure(self, index: int, key: int, status: Status, code: int, text: str) -> None:
        self._log.status[index] = status
        self._log.code[index] = min(code, 255)
        self.timed_out_count += status == Status.TIMED_OUT
        self.failed_count += status != Status.TIMED_OUT
        kind = (self._issuer.sut_of(key), min(code, 255), text)
        if kind not in self.errors and len(self.errors) >= ERROR_KINDS_MAX:
            kind = (kind[0], kind[1], "other errors of this code")
        self.errors[kind] += 1

    def _give_up(self, key: int, status: Status, code: int, text: str) -> None:
        """Settle a request that was not answered, and forget the call."""
        cell = self._pending.pop(key)
        self._issuer.cancel(key)
        log = self._log
        log.reserve(1)
        index = log.count
        log.row[index] = key
        log.released_ns[index], log.issued_ns[index] = cell
        log.completed_ns[index] = NEVER
        self._note_failure(index, key, status, code, text)
        self._note_extras(index, key)
        log.count = index + 1

    # ------------------------------------------------------------ the end
    def _look_for_end(self, now_ns: int) -> None:
        if not self._all_issued:
            if self._ready or not self._pacer.is_done(now_ns - self._t0_ns):
                return
            if any(sut.waiting_count for sut in self._suts):
                return
            self._all_issued = True
            self._on_all_issued()
        if not self._pending and not self.is_finished:
            self.is_finished = True
            self._on_finished()

    @property
    def keeps_more_than_rows(self) -> bool:
        """Responses or arrivals of tokens wait to be taken."""
        return bool(self.answers.responses or self._tokens.ended_count)

    def take_responses(self) -> tuple[np.ndarray, list[bytes]]:
        """Plan rows and messages of the responses kept since the last call."""
        kept = self.answers.take()
        positions = np.array([key for key, _ in kept], dtype=np.int64)
        return self._shard.rows_of(positions), [message for _, message in kept]

    def take_tokens(self) -> SealedTokens | None:
        """Arrivals of the streams that ended since the last call."""
        return self._tokens.take(self._shard.series_index, self._shard.rows_of, self._t0_ns)

    @property
    def settled_count(self) -> int:
        """Requests that ended, well or not."""
        return self.completed_count + self.failed_count + self.timed_out_count

    def quiet_ns(self, now_ns: int) -> int:
        """Time until something is due; 0 if answers may open the loop at any instant."""
        wake_ns = self._pacer.wake_ns()
        return 0 if wake_ns is None else max(0, self._t0_ns + wake_ns - now_ns)

    @property
    def last_issue_ns(self) -> int:
        """Latest issue instant among sealed rows, since t0."""
        return self._shard.last_issue_ns

    @property
    def ended_by(self) -> str:
        return self._pacer.ended_by
