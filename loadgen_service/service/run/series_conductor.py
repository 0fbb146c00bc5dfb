"""One series: load, arm, start all workers at one instant, watch, stop, flush, drain, unload.

Decides when a series ends; what its figures are worth is judged elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import ErrorFacts, SeriesFacts, WorkerFacts
from loadgen_service.core.facts.worker_report import report_fields
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.run_state import RunEvent
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError
from loadgen_service.service.collect.collector import Collector
from loadgen_service.service.collect.live_stats import LiveStats
from loadgen_service.service.run.clocks import SeriesClocks, StreamPlace
from loadgen_service.service.run.preparation import Prepared
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.server_stats import SeriesStatistics
from loadgen_service.service.run.worker_sessions import LeasedWorkers, Worker
from loadgen_service.service.storage.journal import Entry, Journal

ARM_TIMEOUT_NS = 120 * NS_PER_S
START_MARGIN_NS = 250_000_000
"""From sending Start to the common start: enough for a slow network and a busy host."""

STOP_MARGIN_NS = 20_000_000
"""A stop instant lies this far ahead, so that most workers hear of it before it comes."""

QUIET_MARGIN_NS = 15 * NS_PER_S
"""Beyond the longest silence that the plan and the deadlines explain, nothing will move again."""

ABANDON_TIMEOUT_NS = 3 * NS_PER_S
"""After a second Ctrl-C nobody waits for slow answers."""

FLUSH_TIMEOUT_NS = 30 * NS_PER_S
LOAD_TIMEOUT_NS = 120 * NS_PER_S


class SeriesConductor:
    """Conducts one series with the run's leased workers."""

    def __init__(
        self,
        run: Run,
        leased: LeasedWorkers,
        collector: Collector,
        journal: Journal,
        prepared: Prepared,
        plan: SeriesPlan,
        place: StreamPlace | None = None,
    ) -> None:
        self._run = run
        self._leased = leased
        self._collector = collector
        self._journal = journal
        self._prepared = prepared
        self._plan = plan
        self._place = place
        self._index = plan.spec.index
        self._clocks = SeriesClocks(run, leased, with_suts=prepared.has_sut_proto)
        self._statistics = SeriesStatistics(run, leased)
        self._t0_ns = 0
        self._start_unix_ns = 0
        self._stop_ns: int | None = None
        self._is_abandoned = False

    async def conduct(self) -> SeriesFacts:
        """Run the series to its end. Raises LoadgenError only before the start."""
        await self._load()
        await self._clocks.measure_first()
        await self._arm()
        await self._statistics.read_before()
        self._t0_ns = await self._next_start_ns()
        self._start()
        return await self._see_through()

    async def resume(self, start: Entry, stop_ns: int | None) -> SeriesFacts:
        """Go on with a series that an earlier service started and wrote into the journal.

        What the workers say and what is on the disk is all that is known of it. ``stop_ns``: of the
        stop that was told last, if any.
        """
        self._t0_ns, self._start_unix_ns = start["t0_ns"], start["start_unix_ns"]
        self._stop_ns = stop_ns
        self._clocks.resume(start["clocks"])
        self._statistics.resume(start)
        self._run.t0_ns, self._run.series = self._t0_ns, self._plan.spec
        self._run.planned_ns = _planned_ns(self._plan)
        self._leased.tell(self._start_message())
        if stop_ns is not None:
            self._tell_stop(pb.INTERRUPT)
        return await self._see_through()

    async def _see_through(self) -> SeriesFacts:
        await self._watch_issuing()
        self._run.move(RunEvent.ALL_ISSUED)
        # Beside the draining: a SUT may answer the flush only after its slowest request.
        flushing = asyncio.create_task(self._flush())
        await self._drain()
        if self._is_abandoned:
            flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
        if not self._is_abandoned and self._leased.alive():
            await self._statistics.read_after()
            await self._clocks.measure_last()
        await self._unload()
        self._settle_live()
        return self._facts()

    async def _load(self) -> None:
        if not self._prepared.has_sut_proto:
            return
        reply = await self._leased.control(
            self._control(load=self._samples()), LOAD_TIMEOUT_NS, self._run.is_stopped
        )
        if reply.lacking:
            self._run.note(f"the SUTs do not offer: {', '.join(sorted(reply.lacking))}")

    def _samples(self) -> pb.LoadSamples:
        return pb.LoadSamples(sample_index=self._plan.spec.loaded.tolist())

    def _control(self, **call: object) -> pb.Control:
        settings_json = self._run.settings.model_dump_json()
        return pb.Control(settings_json=settings_json, **call)  # type: ignore[arg-type]

    async def _arm(self) -> None:
        self._leased.tell(
            pb.ToWorker(
                arm=pb.Arm(series_index=self._index, target_qps=self._plan.spec.target_qps or 0.0)
            )
        )
        await self._leased.wait(
            lambda: all(worker.words(self._index).armed for worker in self._leased.workers),
            ARM_TIMEOUT_NS,
            "workers were not armed (requests built)",
            self._run.is_stopped,
        )

    async def _next_start_ns(self) -> int:
        """Soon, or where the streams of a mixed run meet."""
        margin_ns = START_MARGIN_NS + 2 * self._clocks.worst_error_ns()
        if self._place is None or not self._place.meets_before(self._plan.spec.kind):
            return self._leased.now_ns() + margin_ns
        look, stopped = self._clocks.look_again, self._run.is_stopped
        return await self._place.meet(self._leased, margin_ns, look, stopped)

    def _start(self) -> None:
        """One absolute instant for all, written down before anyone is told."""
        run, plan = self._run, self._plan
        self._clocks.start_at(self._t0_ns)
        self._start_unix_ns = time.time_ns() + (self._t0_ns - self._leased.now_ns())
        self._journal.write(
            "start",
            series_index=self._index,
            t0_ns=self._t0_ns,
            start_unix_ns=self._start_unix_ns,
            plan_hash=self._prepared.plan_hash,
            target_qps=self._plan.spec.target_qps,
            clocks=self._clocks.journalled(),
            **self._statistics.journalled(),
        )
        run.t0_ns, run.series = self._t0_ns, plan.spec
        run.planned_ns = _planned_ns(plan)
        self._collector.begin_series(self._index, LiveStats.of_plan(plan))
        self._leased.tell(self._start_message())
        run.move(RunEvent.SERIES_STARTED)

    def _start_message(self) -> pb.ToWorker:
        return pb.ToWorker(start=pb.Start(series_index=self._index, t0_coordinator_ns=self._t0_ns))

    async def _watch_issuing(self) -> None:
        """Until every living worker has issued its all."""
        quiet = _Quiet(self._leased.now_ns, self._heard, self._longest_silence_ns())
        while True:
            self._bury_the_failed()
            pending = [w for w in self._leased.alive() if not w.words(self._index).all_issued]
            if not pending:
                return
            if quiet.is_over():
                self._give_up(pending, "issued nothing more")
                return
            self._consider_stop()
            self._clocks.look_again()
            await self._leased.tick()

    def _bury_the_failed(self) -> None:
        for worker in self._leased.workers:
            if worker.failure is not None and not worker.left:
                worker.left = worker.failure.error

    def _consider_stop(self) -> None:
        run = self._run
        if run.stop_requests >= 2 and not self._is_abandoned:
            self._is_abandoned = True
            self._stop(pb.ABANDON)
        elif self._stop_ns is not None:
            return
        elif run.is_stopped() or self._collector.disk_error:
            self._stop(pb.INTERRUPT)
        elif self._minima_are_met():
            self._stop(pb.MINIMA_MET)

    def _stop(self, reason: pb.StopReason) -> None:
        if self._stop_ns is None:
            self._stop_ns = max(0, self._leased.now_ns() - self._t0_ns + STOP_MARGIN_NS)
        self._journal.write(
            "stop",
            series_index=self._index,
            stop_ns=self._stop_ns,
            by_a_person=self._run.is_stopped(),
        )
        self._tell_stop(reason)

    def _tell_stop(self, reason: pb.StopReason) -> None:
        message = pb.Stop(series_index=self._index, stop_ns=self._stop_ns, reason=reason)
        self._leased.tell(pb.ToWorker(stop=message))

    def _minima_are_met(self) -> bool:
        """A measured endless series ends once enough is acknowledged and enough time has passed."""
        plan = self._plan
        if not plan.unbounded or plan.spec.kind != "performance":
            return False
        elapsed_ns = self._leased.now_ns() - self._t0_ns
        completed = self._collector.live[self._index].all.completed
        return (
            elapsed_ns >= plan.effective.target_duration_ns
            and completed >= plan.effective.min_query_count
        )

    def _heard(self) -> tuple[int, ...]:
        """Changes whenever the series moves on."""
        words = [worker.words(self._index) for worker in self._leased.workers]
        return (
            sum(w.issued for w in words),
            sum(w.completed for w in words),
            sum(w.done is not None for w in words),
            self._collector.live[self._index].all.settled,
        )

    def _longest_silence_ns(self) -> int:
        """Longest stretch without an issue or an answer that the plan and deadlines explain."""
        due = self._plan.scheduled_ns
        gap = int(np.diff(due, prepend=0).max(initial=0)) if len(due) else 0
        gap *= len(self._leased.workers)
        return gap + self._run.settings.deadline_ns + START_MARGIN_NS + QUIET_MARGIN_NS

    def _give_up(self, pending: list[Worker], what: str) -> None:
        for worker in pending:
            worker.left = worker.left or f"{what} for too long"

    async def _flush(self) -> None:
        """Tell the SUTs that nothing more will come, after all workers' last issue."""
        if not self._prepared.has_sut_proto or self._is_abandoned or not self._leased.alive():
            return
        try:
            await self._leased.control(self._control(flush=pb.FlushSuts()), FLUSH_TIMEOUT_NS)
        except LoadgenError as error:
            self._run.note(f"flush of the SUTs failed: {error}")

    async def _drain(self) -> None:
        """Until all answers are in or timed out, and their batches on the disk."""
        self._collector.hurry()
        quiet = _Quiet(
            self._leased.now_ns, self._heard, self._run.settings.deadline_ns + QUIET_MARGIN_NS
        )
        while pending := [w for w in self._leased.alive() if not self._is_drained(w)]:
            self._bury_the_failed()
            if self._run.stop_requests >= 2 and not self._is_abandoned:
                self._is_abandoned = True
                self._stop(pb.ABANDON)
                quiet = _Quiet(self._leased.now_ns, self._heard, ABANDON_TIMEOUT_NS)
            if quiet.is_over():
                self._name_missing(pending)
                self._give_up(pending, "sent no more records")
                return
            await self._leased.tick()

    def _name_missing(self, pending: list[Worker]) -> None:
        """Workers that said their last word, though batches before it never came."""
        for worker in pending:
            done = worker.words(self._index).done
            if done is not None:
                self._collector.name_missing(worker.index, done.last_batch_sequence)

    def _is_drained(self, worker: Worker) -> bool:
        done = worker.words(self._index).done
        if done is None:
            return False
        return self._collector.durable_sequence(worker.index) >= done.last_batch_sequence

    async def _unload(self) -> None:
        if not self._prepared.has_sut_proto or self._is_abandoned or not self._leased.alive():
            return
        try:
            await self._leased.control(self._control(unload=self._samples()), LOAD_TIMEOUT_NS)
        except LoadgenError as error:
            self._run.note(f"unloading samples at the SUTs failed: {error}")

    def _settle_live(self) -> None:
        """The last words on what was issued and due, before the workers are given back."""
        live = self._collector.live[self._index]
        for worker in self._leased.workers:
            live.hear_issued(worker.index, worker.words(self._index).issued)
        live.pass_instant(self._run.planned_ns if self._stop_ns is None else self._stop_ns)

    def _facts(self) -> SeriesFacts:
        workers = tuple(self._worker_facts(worker) for worker in self._leased.workers)
        stop_ns = self._stop_ns
        if stop_ns is None and self._plan.unbounded:
            # Ended by the workers themselves (a maximum, failures): at their last issue.
            stop_ns = max((worker.last_issue_ns for worker in workers), default=0)
        return SeriesFacts(
            series_index=self._index,
            workers=workers,
            errors=self._errors(),
            stop_ns=stop_ns,
            start_unix_ns=self._start_unix_ns,
            interrupted=self._run.is_stopped(),
            clocks=self._clocks.facts(),
            server=self._statistics.facts(),
        )

    def _worker_facts(self, worker: Worker) -> WorkerFacts:
        words = worker.words(self._index)
        done = words.done or pb.SeriesDone(issued=words.issued, last_issue_ns=-1)
        reason = "" if words.done is not None else self._leased.lost_reason(worker)
        if words.done is None and not reason:
            reason = "its last word on the series never came"
        if done.ended_by == "signal":
            reason = "it was stopped by a signal and drained; the rest of its rows was not issued"
        return WorkerFacts(
            worker_index=worker.index,
            host=worker.host,
            pid=worker.pid,
            lost=words.done is None,
            lost_reason=reason,
            issued_count=done.issued,
            last_issue_ns=done.last_issue_ns,
            ended_by=done.ended_by,
            clock_offset_ns=self._clocks.used(worker).offset_ns,
            clock_error_ns=self._clocks.used(worker).error_ns,
            start_clock_ns=self._clocks.start_clock_ns(worker),
            **report_fields(done.report.figures),
        )

    def _errors(self) -> tuple[ErrorFacts, ...]:
        counts: dict[tuple[int, str, int], int] = {}
        for worker in self._leased.workers:
            done = worker.words(self._index).done
            for error in done.errors if done else ():
                key = (error.code, error.message, error.sut_index)
                counts[key] = counts.get(key, 0) + error.count
        ranked = sorted(counts.items(), key=lambda item: -item[1])
        return tuple(ErrorFacts(code, text, n, sut) for (code, text, sut), n in ranked)


def _planned_ns(plan: SeriesPlan) -> int:
    """How long issuing should take, for the live view: closed loops know only their minimum."""
    if SCENARIOS[plan.scenario].closed:
        return plan.effective.target_duration_ns if plan.spec.kind != "accuracy" else 0
    return int(plan.scheduled_ns.max(initial=0))


class _Quiet:
    """True once ``heard`` has not changed for ``limit_ns``: the deadline of a wait that moves."""

    def __init__(
        self, now_ns: Callable[[], int], heard: Callable[[], tuple[int, ...]], limit_ns: int
    ) -> None:
        self._now_ns = now_ns
        self._heard = heard
        self._limit_ns = limit_ns
        self._last = heard()
        self._since_ns = now_ns()

    def is_over(self) -> bool:
        heard, now_ns = self._heard(), self._now_ns()
        if heard != self._last:
            self._last, self._since_ns = heard, now_ns
        return now_ns - self._since_ns > self._limit_ns
