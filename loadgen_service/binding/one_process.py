"""A script's test call under our own engine, in its process: plan, pace, record, judge, write.

Writes the run directory that every run has, and LoadGen's log files where the script's log settings
want them. No byte crosses a network, and the summary says so.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen_service.binding.answers import Answer, AnswerQueue
from loadgen_service.binding.handles import ScriptQsl, ScriptSut
from loadgen_service.binding.paced_series import PacedSeries
from loadgen_service.binding.stored_series import store_series
from loadgen_service.core.facts.run import ErrorFacts, RunFacts, SeriesFacts, SutFacts, WorkerFacts
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    plan_hash,
    plan_series,
    series_specs,
    workload_hash,
)
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import IN_PROCESS_PLATFORM
from loadgen_service.core.summary.run import Summary
from loadgen_service.errors import SettingsError
from loadgen_service.mlperf.logs.accuracy_log import logged_samples
from loadgen_service.service.results.writer import Material, write_results
from loadgen_service.service.storage.run_directory import RunDirectories, RunDirectory, new_run_id

ONE_QUERY_AT_ONCE: Final = 1 << 40
"""Offline hands the whole query over in one call, as LoadGen does."""


@dataclass(frozen=True, slots=True)
class RunScript:
    """One test call: what is asked of which SUT and library, and where results go (empty: new)."""

    settings: Settings
    sut: ScriptSut
    qsl: ScriptQsl
    out: str = ""
    results: str = "results"


class OneProcessRun:
    """Runs every series of a test call; also the receiver of the script's answers."""

    def __init__(self, script: RunScript) -> None:
        settings = script.settings.model_copy(update={"offline_window": ONE_QUERY_AT_ONCE})
        if settings.searches_peak:
            raise SettingsError(
                "mode: the binding runs no FindPeakPerformance in one process; serve the script "
                "and run `loadgen run --mode find_peak` against it"
            )
        qsl = script.qsl
        self._script = script
        self._settings = settings
        self._counts = SampleCounts(qsl.total_sample_count, qsl.performance_sample_count)
        self._queue = AnswerQueue()
        self._current: PacedSeries | None = None
        self._run_id = new_run_id()
        self._store = RunDirectories(Path(script.results))
        self.directory: RunDirectory = self._store.create(
            settings.scenario, self._run_id, script.out
        )

    # ------------------------------------------------------------ the script's answers
    def wants(self, sample_id: int) -> bool:
        """See ``Receiver``."""
        series = self._current
        return series is not None and series.wants(sample_id)

    def receive(self, answers: Sequence[Answer]) -> None:
        """See ``Receiver``."""
        self._queue.put(answers)

    # ------------------------------------------------------------ the run
    def run(self) -> Summary:
        """All series, then every file of the run directory, LoadGen's own logs among them."""
        name = self._script.sut.name()
        plans: list[SeriesPlan] = []
        facts: list[SeriesFacts] = []
        next_id = 1
        for spec in series_specs(self._settings, self._counts):
            plan = plan_series(self._settings, self._counts, spec)
            series = self._run_one(plan, next_id)
            next_id += plan.request_count
            store_series(self.directory, plan, series)
            plans.append(plan)
            facts.append(_series_facts(plan, series))
        material = Material(self._settings, self._facts(facts, name), plans, worker_count=1)
        summary = write_results(self.directory, material)
        self.directory.drop_segments()
        self._store.release(self.directory)
        return summary

    def _run_one(self, plan: SeriesPlan, first_id: int) -> PacedSeries:
        loaded = plan.spec.loaded.tolist()
        kept = logged_samples(self._settings, self._counts, plan)
        series = PacedSeries(self._settings, plan, self._script.sut, self._queue, first_id, kept)
        self._current = series
        self._script.qsl.load(list(loaded))
        series.run()
        self._script.qsl.unload(list(loaded))
        return series

    def _facts(self, series: Sequence[SeriesFacts], name: str) -> RunFacts:
        return RunFacts(
            run_id=self._run_id,
            plan_hash=plan_hash(self._settings, self._counts),
            workload_hash=workload_hash(self._settings, self._counts, ""),
            series=tuple(series),
            suts=(SutFacts(0, f"in process {os.getpid()}", name, IN_PROCESS_PLATFORM),),
            dataset_name="the script's own, by sample number",
            total_sample_count=self._counts.total,
            performance_sample_count=self._counts.performance,
            notes=("the SUT ran in the load generator's process: no data crossed a network",),
        )


def _series_facts(plan: SeriesPlan, series: PacedSeries) -> SeriesFacts:
    worker = WorkerFacts(
        worker_index=0,
        host=socket.gethostname(),
        pid=os.getpid(),
        issued_count=series.issued_count,
        last_issue_ns=series.last_issue_ns,
        ended_by=series.ended_by,
    )
    errors = tuple(ErrorFacts(0, text, count) for text, count in series.errors.items())
    return SeriesFacts(
        series_index=plan.spec.index,
        workers=(worker,),
        errors=errors,
        start_unix_ns=series.start_unix_ns,
    )
