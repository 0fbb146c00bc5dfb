"""One run as users see it: its state, what they asked for, and its status message."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.plan.plan import SeriesSpec
from loadgen_service.core.run_state import FINAL_STATES, RunEvent, RunState, next_state
from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError
from loadgen_service.service.collect.collector import Collector
from loadgen_service.service.run.worker_sessions import LeasedWorkers
from loadgen_service.service.storage.run_directory import RunDirectory


@dataclass(slots=True)
class Run:
    """One run, from its request to its verdict. Only its conductor changes it, but for stops."""

    run_id: str
    settings: Settings
    directory: RunDirectory
    state: RunState = RunState.QUEUED
    leased: LeasedWorkers | None = None
    collector: Collector | None = None
    series: SeriesSpec | None = None
    series_count: int = 0
    t0_ns: int = 0
    planned_ns: int = 0
    stop_requests: int = 0
    error: str = ""
    error_exit_code: int = 0
    summary_json: str = ""
    valid: bool | None = None
    notes: list[str] = field(default_factory=list)
    sut_addresses: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    stream_index: int = 0
    stream_name: str = ""
    """Of a stream of a mixed run; empty for a run by itself."""
    _last_words: tuple[list[pb.WorkerStatus], int] = ([], 0)

    @property
    def is_over(self) -> bool:
        """True in a final state."""
        return self.state in FINAL_STATES

    def is_stopped(self) -> bool:
        """True once a person asked to stop."""
        return self.stop_requests > 0

    def stop(self) -> None:
        """Ask to drain; asked twice, to give up what is out. What waits for its turn ends now."""
        self.stop_requests += 1
        if self.state is RunState.QUEUED:
            self.move(RunEvent.INTERRUPTED)

    def move(self, event: RunEvent) -> None:
        """Take a step of the table. Raises IllegalMove."""
        self.state = next_state(self.state, event)
        self.changed.set()

    def fail(self, error: LoadgenError) -> None:
        """End in FAILED with one line."""
        self.error, self.error_exit_code = " ".join(str(error).split()), error.exit_code
        self.move(RunEvent.FAILED)

    @property
    def outcome(self) -> str:
        """How it ended: valid, invalid, unjudged, failed or interrupted; ``""`` before that."""
        if self.state is RunState.DONE:
            return {True: "valid", False: "invalid", None: "unjudged"}[self.valid]
        return self.state.name.lower() if self.is_over else ""

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def part_with_workers(self) -> None:
        """Keep what the workers last said; they may serve another run now."""
        self._last_words = self._leased_words()
        self.leased = None

    def _leased_words(self) -> tuple[list[pb.WorkerStatus], int]:
        """A status of each worker, and how many requests they say they issued."""
        if self.leased is None:
            return self._last_words
        index = self.series.index if self.series else 0
        issued = sum(worker.words(index).issued for worker in self.leased.workers)
        return worker_statuses(self.leased), issued

    def hear_workers(self, now_ns: int) -> None:
        """Take the workers' newest words, and what came due, into the series that runs."""
        if self.series is None or self.collector is None or self.leased is None:
            return
        live = self.collector.live.get(self.series.index)
        if live is None:
            return
        words = [worker.words(self.series.index) for worker in self.leased.workers]
        for worker, said in zip(self.leased.workers, words, strict=True):
            live.hear_issued(worker.index, said.issued)
        if not all(said.all_issued for said in words):
            live.pass_instant(now_ns - self.t0_ns)

    def worker_statuses(self) -> list[pb.WorkerStatus]:
        """What its workers say of themselves now, or last said."""
        return self._leased_words()[0]

    def status(self) -> pb.RunStatus:
        """What a watcher gets. Live figures count requests."""
        status = pb.RunStatus(
            run_id=self.run_id,
            state=int(self.state),  # type: ignore[arg-type]  # the same numbers
            scenario=self.settings.scenario,
            mode=self.settings.mode,
            series_count=self.series_count,
            run_directory=str(self.directory.path.resolve()),
            error=self.error,
            error_exit_code=self.error_exit_code,
            summary_json=self.summary_json,
            notes=self.notes,
            stream_name=self.stream_name,
        )
        self._add_series(status)
        return status

    def _add_series(self, status: pb.RunStatus) -> None:
        collector, spec = self.collector, self.series
        workers, issued = self._leased_words()
        status.workers.extend(workers)
        if spec is None or collector is None or spec.index not in collector.live:
            return
        status.series_index, status.series_name = spec.index, spec.name
        live = collector.live[spec.index]
        if self.state in (RunState.RUNNING, RunState.DRAINING):
            status.elapsed_ns = max(0, time.monotonic_ns() - self.t0_ns)
        status.planned_ns = self.planned_ns
        status.queries.CopyFrom(live.counts(issued))
        status.live.CopyFrom(live.figures(issued))
        status.suts.extend(
            live.sut_status(index, address) for index, address in enumerate(self.sut_addresses)
        )


def worker_statuses(leased: LeasedWorkers) -> list[pb.WorkerStatus]:
    """One status a worker."""
    return [
        pb.WorkerStatus(
            worker_index=worker.index,
            host=worker.host,
            pid=worker.pid,
            lost=bool(leased.lost_reason(worker)),
            report=worker.heartbeat.report,
            clock=worker.clock,
        )
        for worker in leased.workers
    ]
