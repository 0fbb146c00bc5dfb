"""Conducts one run from its lease to its files; series and verdicts are made elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import RunFacts, SeriesFacts
from loadgen_service.core.plan.plan import SeriesPlan, SeriesSpec, peak_series, plan_series
from loadgen_service.core.run_state import RunEvent, RunState
from loadgen_service.core.search.peak_search import PeakSearch
from loadgen_service.core.summary.run import Summary, public_settings, summary_to_json
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.errors import LoadgenError, RunError
from loadgen_service.service.collect.collector import Collector
from loadgen_service.service.collect.live_stats import LiveStats
from loadgen_service.service.results.writer import Material, meets_latency_target, write_results
from loadgen_service.service.run.clocks import StreamPlace
from loadgen_service.service.run.environment import environment
from loadgen_service.service.run.preparation import Prepared, prepare
from loadgen_service.service.run.recovery import DIED
from loadgen_service.service.run.resumption import WENT_ON, Resumption, boot_id
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.scraper import metrics_scraped
from loadgen_service.service.run.series_conductor import SeriesConductor
from loadgen_service.service.run.worker_sessions import Interrupted, LeasedWorkers, Sessions, Worker
from loadgen_service.service.storage.journal import Journal


class RunConductor:
    """One run on the workers of ``sessions``. :meth:`conduct` always ends it in a final state."""

    def __init__(
        self,
        run: Run,
        sessions: Sessions,
        resumption: Resumption | None = None,
        place: StreamPlace | None = None,
    ) -> None:
        """``resumption``: how far an earlier service had come with the run; its workers are
        expected already. ``place``: where it meets the other streams of a mixed run."""
        self._run = run
        self._sessions = sessions
        self._resumption = resumption
        self._place = place
        self._plans: list[SeriesPlan] = list(resumption.plans) if resumption else []
        self._series: list[SeriesFacts] = list(resumption.series) if resumption else []
        self._searched: list[bool] = list(resumption.searched) if resumption else []
        self._gaps: list[str] = list(resumption.gaps) if resumption else []
        self._cut_by = ""

    async def conduct(self) -> None:
        """Take the run to DONE, FAILED or INTERRUPTED; errors become its status."""
        run = self._run
        try:
            await (self._resume(self._resumption) if self._resumption else self._conduct())
        except Interrupted:
            run.move(RunEvent.INTERRUPTED)
            self._give_up("stopped before any load")
        except LoadgenError as error:
            run.fail(error)
            self._give_up(run.error)
        except OSError as error:
            run.fail(RunError(f"{error.filename or run.directory.path}: {error.strerror}"))
        except Exception as error:  # a defect must end the run, not the service
            run.fail(RunError(f"internal error: {type(error).__name__}: {error}"))
            raise
        finally:
            await self._dismiss()

    def _give_up(self, reason: str) -> None:
        """A run that never issued anything leaves nothing to recover, and the journal says so."""
        if not self._run.t0_ns:
            with contextlib.suppress(OSError):
                Journal(self._run.directory.path).write("given_up", reason=reason)

    async def _conduct(self) -> None:
        run = self._run
        run.move(RunEvent.TURN_CAME)
        journal = Journal(run.directory.path)
        journal.write(
            "run", run_id=run.run_id, settings=public_settings(run.settings), boot_id=boot_id()
        )
        leased = run.leased = await self._lease()
        run.collector = Collector(run.directory, self._sessions.changed.set)
        run.move(RunEvent.WORKERS_LEASED)
        for worker in leased.workers:
            journal.write("worker", **_worker_entry(worker))
        prepared = await prepare(run, leased)
        run.series_count = len(prepared.specs)
        journal.write("prepared", **prepared_entry(prepared, len(leased.workers)))
        async with metrics_scraped(run, self._sessions.clock):
            await self._conduct_series(journal, prepared)
        await self._conclude(prepared)

    async def _resume(self, back: Resumption) -> None:
        """Go on where an earlier service died: its series, then the others, then the results."""
        run, prepared = self._run, back.prepared
        assert run.leased is not None
        journal = Journal(run.directory.path)
        journal.write("resumed", boot_id=boot_id())
        collector = Collector(run.directory, self._sessions.changed.set)
        plans = [*back.plans, *([back.running_plan] if back.running_plan else [])]
        live = {plan.spec.index: LiveStats.of_plan(plan) for plan in plans}
        await asyncio.to_thread(collector.take_up, live)
        run.collector = collector
        async with metrics_scraped(run, self._sessions.clock):
            if await self._take_up_series(journal, back):
                await self._conduct_series(journal, prepared)
        await self._conclude(prepared)

    async def _take_up_series(self, journal: Journal, back: Resumption) -> bool:
        """The series that was going on. Whether another one may follow."""
        run = self._run
        assert run.leased is not None
        assert run.collector is not None
        if back.running is None or back.running_plan is None:
            return self._may_go_on(self._series[-1])
        conductor = SeriesConductor(
            run, run.leased, run.collector, journal, back.prepared, back.running_plan
        )
        facts = await conductor.resume(back.running, back.stop["stop_ns"] if back.stop else None)
        if all(worker.lost for worker in facts.workers):
            self._cut_by = DIED
        self._keep(journal, back.running_plan, facts)
        return self._may_go_on(facts)

    async def _workers_are_back(self, leased: LeasedWorkers) -> bool:
        """Between two series nothing is lost by waiting; without all workers no other begins."""
        while any(worker.awaited_until_ns for worker in leased.workers):
            gone = [worker for worker in leased.workers if leased.lost_reason(worker)]
            if gone:
                reason = leased.lost_reason(gone[0])
                self._run.note(f"later series were not run: worker {gone[0].index}: {reason}")
                self._cut_by = DIED
                return False
            await leased.tick()
        return True

    async def _conclude(self, prepared: Prepared) -> None:
        run = self._run
        assert run.collector is not None
        run.move(RunEvent.ALL_DRAINED)
        await run.collector.close()
        if self._place is None:
            await self._write(prepared)
            return
        # Exact figures take the processor and the disk that other streams still need.
        self._place.gate.leave(self._place.index)
        await self._place.gate.all_left()
        async with self._place.gate.writing:
            await self._write(prepared)

    async def _lease(self) -> LeasedWorkers:
        """Exactly as many workers as the run asked for, within its lease timeout."""
        run, settings = self._run, self._run.settings
        deadline_ns = self._sessions.clock() + settings.lease_timeout_ms * NS_PER_MS
        while True:
            if run.is_stopped():
                raise Interrupted
            leased = self._sessions.lease(run.run_id, settings.workers)
            if leased is not None:
                return LeasedWorkers(self._sessions, leased, settings.heartbeat_lost_ms * NS_PER_MS)
            if self._sessions.clock() >= deadline_ns:
                raise RunError(
                    f"workers: {settings.workers} asked for, {len(self._sessions.idle())} idle "
                    f"after {settings.lease_timeout_ms / 1000:g} s; start more with "
                    "`loadgen worker --coordinator`, or ask for fewer"
                )
            await LeasedWorkers(self._sessions, (), 0).tick()

    async def _conduct_series(self, journal: Journal, prepared: Prepared) -> None:
        searches = self._run.settings.searches_peak
        for spec in prepared.specs[:-1] if searches else prepared.specs:
            if spec.index >= len(self._series) and not await self._conduct_one(
                journal, prepared, spec
            ):
                return
        if searches:
            await self._search_peak(journal, prepared)

    async def _search_peak(self, journal: Journal, prepared: Prepared) -> None:
        """One series after another, each at the rate that the last one led to."""
        run, base = self._run, prepared.specs[-1]
        search = PeakSearch.of(run.settings)
        for passed in self._searched:
            search.record(passed)
        while search.next_qps is not None:
            index = base.index + search.run_count
            run.series_count = index + 1
            spec = peak_series(base, index, search.next_qps)
            if index >= len(self._series) and not await self._conduct_one(journal, prepared, spec):
                return
            facts, plan = self._facts(prepared), self._plans[-1]
            passed = await asyncio.to_thread(
                meets_latency_target, run.directory, self._material(prepared, facts), plan
            )
            journal.write("searched", series_index=index, passed=passed)
            self._searched.append(passed)
            search.record(passed)

    async def _conduct_one(self, journal: Journal, prepared: Prepared, spec: SeriesSpec) -> bool:
        """Whether another series may follow. Raises what ends the run: all before its first."""
        run = self._run
        assert run.leased is not None
        assert run.collector is not None
        if not await self._workers_are_back(run.leased):
            return False
        plan = await asyncio.to_thread(
            plan_series, run.settings, prepared.counts, spec, prepared.trace_ns
        )
        conductor = SeriesConductor(
            run, run.leased, run.collector, journal, prepared, plan, self._place
        )
        try:
            facts = await conductor.conduct()
        except (LoadgenError, Interrupted) as error:
            # Before the first load this ends the run; later, what was measured is kept.
            if not self._series or run.state is not RunState.DRAINING:
                raise
            run.note(f"series {spec.name} and later were not run: {_reason(error)}")
            return False
        self._keep(journal, plan, facts)
        return self._may_go_on(facts)

    def _keep(self, journal: Journal, plan: SeriesPlan, facts: SeriesFacts) -> None:
        self._plans.append(plan)
        self._series.append(facts)
        notes = [note for note in self._run.notes if note != WENT_ON]
        journal.write("series", facts=asdict(facts), notes=notes, gaps=self._all_gaps())

    def _all_gaps(self) -> list[str]:
        """Those that this service found, and those that one before it had written down."""
        found = self._run.collector.gaps if self._run.collector else []
        return list(dict.fromkeys([*self._gaps, *found]))

    def _may_go_on(self, facts: SeriesFacts) -> bool:
        run = self._run
        assert run.collector is not None
        if run.is_stopped():
            return False
        lost = [worker.worker_index for worker in facts.workers if worker.is_gone]
        if (lost or run.collector.disk_error) and len(self._plans) < run.series_count:
            why = f"worker {lost[0]} was lost" if lost else "the disk refused records"
            run.note(f"later series were not run: {why}")
        return not lost and not run.collector.disk_error

    async def _write(self, prepared: Prepared) -> None:
        material = self._material(prepared, self._facts(prepared))
        summary = await asyncio.to_thread(write_results, self._run.directory, material)
        self._finish(summary)

    def _facts(self, prepared: Prepared) -> RunFacts:
        run = self._run
        assert run.collector is not None
        return RunFacts(
            run_id=run.run_id,
            plan_hash=prepared.plan_hash,
            workload_hash=prepared.workload_hash,
            series=tuple(self._series),
            suts=prepared.suts,
            preprocess_ns=prepared.data.preprocess_ns,
            dataset_name=prepared.data.name,
            dataset_hash=prepared.data.content_hash,
            total_sample_count=prepared.counts.total,
            performance_sample_count=prepared.counts.performance,
            notes=tuple(run.notes),
            gaps=tuple(self._all_gaps()),
            environment=environment(),
            interrupted=run.is_stopped() or bool(self._cut_by),
            interruption=self._cut_by,
            searched=tuple(self._searched),
        )

    def _material(self, prepared: Prepared, facts: RunFacts) -> Material:
        return Material(
            settings=self._run.settings,
            facts=facts,
            plans=tuple(self._plans),
            worker_count=self._run.settings.workers,
            labels=prepared.data.labels,
            stream_index=self._run.stream_index,
        )

    def _finish(self, summary: Summary) -> None:
        run = self._run
        run.directory.drop_segments()
        run.summary_json, run.valid = summary_to_json(summary), summary.valid
        is_cut = run.is_stopped() or self._cut_by
        run.move(RunEvent.INTERRUPTED if is_cut else RunEvent.RESULTS_WRITTEN)

    async def _dismiss(self) -> None:
        """Free the workers, whatever happened."""
        run = self._run
        if run.collector is not None:
            await run.collector.close()
        if run.leased is not None:
            leased = run.leased
            leased.tell(pb.ToWorker(finish=pb.Finish(run_id=run.run_id)))
            run.part_with_workers()
            self._sessions.release(leased.workers)


def _reason(error: BaseException) -> str:
    return "stopped" if isinstance(error, Interrupted) else str(error)


def _worker_entry(worker: Worker) -> dict[str, object]:
    return {
        "worker_index": worker.index,
        "worker_id": worker.worker_id,
        "host": worker.host,
        "pid": worker.pid,
        "epoch": worker.epoch,
    }


def prepared_entry(prepared: Prepared, worker_count: int) -> dict[str, object]:
    """What the journal keeps so that results can be made without the data and the SUTs."""
    return {
        "worker_count": worker_count,
        "plan_hash": prepared.plan_hash,
        "workload_hash": prepared.workload_hash,
        "dataset_name": prepared.data.name,
        "dataset_hash": prepared.data.content_hash,
        "preprocess_ns": prepared.data.preprocess_ns,
        "inputs": [
            [one.name, one.datatype, list(one.shape), one.optional] for one in prepared.data.inputs
        ],
        "batched": prepared.data.batched,
        "has_sut_proto": prepared.has_sut_proto,
        "total_sample_count": prepared.counts.total,
        "performance_sample_count": prepared.counts.performance,
        "suts": [asdict(sut) for sut in prepared.suts],
        "trace_ns": None if prepared.trace_ns is None else prepared.trace_ns.tolist(),
        "sequences": prepared.counts.sequences.to_lists() if prepared.counts.sequences else None,
    }
