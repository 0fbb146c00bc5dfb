"""One series on one worker: armed, started, swept, sealed and reported.

Owns the series' clockwork around the loop; decides no pace and no transport.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.core.pacing.pacer import Pacer
from loadgen_service.core.pacing.sequence_pacer import SequencePacer
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, shard_rows
from loadgen_service.core.settings import Settings
from loadgen_service.sut.factory import Dispatch, reads_side_by_side
from loadgen_service.sut.interface import SystemUnderTest
from loadgen_service.sut.read_coalescer import ReadCoalescer
from loadgen_service.worker.host import gc_control
from loadgen_service.worker.host.process_stats import (
    CpuContention,
    read_cpu_contention,
    report_between,
)
from loadgen_service.worker.issue.loop import SeriesLoop
from loadgen_service.worker.issue.sequence_loop import EVERY_ROW, SequenceLoop, sequence_shard
from loadgen_service.worker.issue.shard import Build, Shard
from loadgen_service.worker.issue.timers import Waiter, make_waiter
from loadgen_service.worker.issue.traced_suts import traced_suts
from loadgen_service.worker.official.loadgen_thread import OfficialTest
from loadgen_service.worker.official.loop import OfficialLoop
from loadgen_service.worker.official.series import closing_words, make_official_loop
from loadgen_service.worker.records.record_log import FlushPolicy, RecordLog, seal_row_count
from loadgen_service.worker.records.response_sampling import kept_responses
from loadgen_service.worker.uplink.sender import (
    RESPONSES_BYTES_MAX,
    Outbox,
    SealedNothing,
    SealedResponses,
)

TICK_S: Final = 0.02
"""Deadlines are looked at this often, and rows of a fast run sealed."""

PROGRESS_AGE_NS: Final = 200_000_000

Say = Callable[[pb.FromWorker], None]


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every series of a run shares on this worker."""

    settings: Settings
    worker_index: int
    worker_count: int
    suts: Sequence[SystemUnderTest]
    dispatch: Dispatch
    log: RecordLog
    outbox: Outbox
    build: Build
    say: Say
    counts: SampleCounts
    official: OfficialTest | None = None
    """Issues in place of our pacer, where it has this series."""
    is_last: bool = False
    run_id: str = ""


class Series:
    """Arm makes everything ready; ``start`` begins; ``done`` is set after the last word."""

    def __init__(self, equipment: Equipment, plan: SeriesPlan) -> None:
        settings = equipment.settings
        self._equipment = equipment
        self.index = plan.spec.index
        place = (equipment.worker_index, equipment.worker_count)
        sequences = SequencePacer(settings, plan, *place) if plan.sequences is not None else None
        rows = EVERY_ROW if sequences else shard_rows(plan, *place, settings)
        self._official = equipment.official if plan.spec.kind != "warmup" else None
        common: dict[str, Any] = {
            "shard": sequence_shard(settings, plan, equipment.build, sequences)
            if sequences
            else Shard(plan, rows, equipment.build),
            "suts": traced_suts(
                equipment.suts, equipment.run_id, plan, rows, settings.trace_sample_rate
            ),
            "log": equipment.log,
            "clock": time.monotonic_ns,
            "deadline_ns": settings.deadline_ns,
            "on_all_issued": self._say_issued,
            "on_finished": self._wake_ticker,
            "keep_responses": kept_responses(settings, equipment.counts, plan, rows),
        }
        self._loop: SeriesLoop
        if self._official is not None:
            self._loop = make_official_loop(self._official, settings, plan, **common)
        elif sequences is not None:
            self._loop = SequenceLoop(pacer=sequences, **common)
        else:
            self._loop = SeriesLoop(pacer=Pacer(settings, plan, *place), **common)
        self._flush_policy = FlushPolicy(seal_row_count(plan.scenario), equipment.log.sealed_count)
        self._waiter: Waiter | None = None
        self._read_coalescer: ReadCoalescer | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._said_ns = 0
        self._t0_ns = 0
        self._taken_before: CpuContention | None = None
        self._pausing: asyncio.Future[None] | None = None
        self._blocked_before = sum(sut.blocked_count for sut in equipment.suts)
        self._sequence_before = equipment.outbox.last_sequence
        self.done = asyncio.Event()

    @property
    def issued_count(self) -> int:
        return self._loop.issued_count

    @property
    def completed_count(self) -> int:
        return self._loop.completed_count

    @property
    def outstanding_count(self) -> int:
        return self._loop.outstanding_count

    @property
    def is_started(self) -> bool:
        return self._ticker is not None

    # ------------------------------------------------------------ life
    def start(self, t0_ns: int) -> None:
        """Issue from ``t0_ns`` (this host's monotonic clock) on."""
        loop = asyncio.get_running_loop()
        self._t0_ns = t0_ns
        self._equipment.dispatch.target = self._loop.on_events
        on_wake = self._loop.on_wake
        if reads_side_by_side(self._equipment.settings):
            self._read_coalescer = ReadCoalescer(self._loop.on_reads, loop.call_soon)
            self._equipment.dispatch.target = self._read_coalescer
            on_wake = self._wake_after_reads
        self._waiter = make_waiter(self._equipment.settings.wait_policy, loop, on_wake)
        gc_control.freeze()
        self._taken_before = read_cpu_contention()
        if self._official is not None:
            loop.add_reader(self._official.fd, self._loop.on_wake)
        self._loop.start(t0_ns, self._waiter)
        self._ticker = loop.create_task(self._tick())

    def stop(self, stop_ns: int) -> None:
        """Issue nothing after ``stop_ns`` since the start."""
        self._loop.stop(stop_ns)

    def stop_now(self, reason: str = "stop") -> None:
        """Issue nothing more; ``reason`` becomes ``ended_by`` if something was still to come."""
        self._loop.stop(max(0, time.monotonic_ns() - self._t0_ns), reason)

    def abandon(self, reason: str) -> None:
        """Give up what is out."""
        self._report_reads()
        self._loop.abandon(reason)

    async def close(self) -> None:
        """Leave the series, finished or not."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        self._put_down()

    def _put_down(self) -> None:
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None
            if self._official is not None:
                asyncio.get_running_loop().remove_reader(self._official.fd)
            gc_control.thaw()

    # ------------------------------------------------------------ clockwork
    def _wake_after_reads(self) -> None:
        self._report_reads()
        self._loop.on_wake()

    def _report_reads(self) -> None:
        """What has been read and not reported comes before anything that happens now."""
        if self._read_coalescer is not None:
            self._read_coalescer.report()

    async def _tick(self) -> None:
        while not self._loop.is_finished:
            now_ns = time.monotonic_ns()
            if now_ns >= self._t0_ns:
                self._report_reads()
                self._loop.sweep(now_ns)
            self._seal_if_due(now_ns)
            if now_ns - self._said_ns >= PROGRESS_AGE_NS:
                self._said_ns = now_ns
                self._say_progress(now_ns)
            gc_control.pay(self._loop.quiet_ns(now_ns))
            if not self._loop.is_finished:
                await self._pause()
        self._put_down()
        self._seal()
        if isinstance(self._loop, OfficialLoop) and self._equipment.is_last:
            for piece in await closing_words(self._loop, self.index):
                self._equipment.outbox.put(piece)
        if self._equipment.outbox.last_sequence == self._sequence_before:
            self._equipment.outbox.put(SealedNothing(self.index))
        before = self._taken_before or read_cpu_contention()
        taken = report_between(before, read_cpu_contention())
        self._say_done(self._equipment.outbox.last_sequence, taken)
        self.done.set()

    async def _pause(self) -> None:
        """Until the next tick or the end; a timeout would make a task each time."""
        loop = asyncio.get_running_loop()
        self._pausing = loop.create_future()
        timer = loop.call_later(TICK_S, self._wake_ticker)
        try:
            await self._pausing
        finally:
            timer.cancel()

    def _wake_ticker(self) -> None:
        if self._pausing is not None and not self._pausing.done():
            self._pausing.set_result(None)

    def _seal_if_due(self, now_ns: int) -> None:
        log, loop = self._equipment.log, self._loop
        is_due = self._flush_policy.is_due(
            now_ns, log.unsealed_count, log.sealed_count, loop.keeps_more_than_rows
        )
        if is_due or loop.answers.response_bytes >= RESPONSES_BYTES_MAX:
            self._seal()
            self._flush_policy.note_seal(now_ns, log.sealed_count)

    def _seal(self) -> None:
        """Hand rows and responses to the outbox."""
        self._equipment.log.seal()
        tokens = self._loop.take_tokens()
        if tokens is not None:
            self._equipment.outbox.put(tokens)
        if not self._loop.answers.responses:
            return
        rows, messages = self._loop.take_responses()
        start = size = 0
        for end, message in enumerate(messages, start=1):
            size += len(message)
            if size >= RESPONSES_BYTES_MAX or end == len(messages):
                sealed = SealedResponses(self.index, rows[start:end], messages[start:end])
                self._equipment.outbox.put(sealed)
                start, size = end, 0

    # ------------------------------------------------------------ reporting
    def _say_progress(self, now_ns: int) -> None:
        self._equipment.say(
            pb.FromWorker(
                progress=pb.SeriesProgress(
                    series_index=self.index,
                    issued=self._loop.issued_count,
                    completed=self._loop.settled_count,
                    now_ns=max(0, now_ns - self._t0_ns),
                )
            )
        )

    def _say_issued(self) -> None:
        """The first of two words: the last request is on its way, so SUTs may be flushed."""
        self._say_done(0, WorkerReport())  # reading it now would delay the last answers

    def _say_done(self, last_batch_sequence: int, taken: WorkerReport) -> None:
        loop = self._loop
        report = replace(
            taken,
            late_start_ns=loop.late_start_ns,
            blocked_by_streams=self._blocked_count(),
            resent_count=loop.resends.count,
            peak_outstanding=loop.peak_outstanding,
        )
        self._equipment.say(
            pb.FromWorker(
                done=pb.SeriesDone(
                    series_index=self.index,
                    issued=loop.issued_count,
                    completed=loop.completed_count,
                    failed=loop.failed_count,
                    timed_out=loop.timed_out_count,
                    last_issue_ns=loop.last_issue_ns,
                    last_batch_sequence=last_batch_sequence,
                    ended_by=loop.ended_by,
                    errors=_error_counts(loop),
                    all_issued=True,
                    report=pb.WorkerReport(figures=report.to_message()),
                )
            )
        )

    def _blocked_count(self) -> int:
        return sum(sut.blocked_count for sut in self._equipment.suts) - self._blocked_before


def _error_counts(loop: SeriesLoop) -> list[pb.ErrorCount]:
    return [
        pb.ErrorCount(code=code, message=text, count=count, sut_index=sut)
        for (sut, code, text), count in loop.errors.most_common()
    ]
