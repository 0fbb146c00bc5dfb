"""Runs that a dead service left behind: honest partial results from journal and segments.

Nothing is guessed: rows that no record reached are lost, and the run is marked INTERRUPTED.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loadgen_service.core.facts.run import (
    ClockFacts,
    ErrorFacts,
    RunFacts,
    SeriesFacts,
    SutFacts,
    WorkerFacts,
)
from loadgen_service.core.facts.server_stats import ServerFacts
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    SeriesSpec,
    peak_series,
    plan_series,
    series_specs,
)
from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError, RunError
from loadgen_service.service.results.mixed_results import recover_mixed
from loadgen_service.service.results.writer import Material, write_results
from loadgen_service.service.run.environment import environment
from loadgen_service.service.storage.journal import (
    Entry,
    Journal,
    entries_of,
    read_journal,
    scan_journal,
)
from loadgen_service.service.storage.run_directory import RunDirectories, RunDirectory

DIED = "the service died during the run"

_log = logging.getLogger(__name__)


def recover_all(store: RunDirectories, spared: Path | None = None) -> list[str]:
    """Finish every unfinished run of the store, but for the one in the directory ``spared`` and
    those that another process is writing. One line a run about what became of it.
    """
    said = []
    for directory in store.unfinished():
        if directory.path != spared and store.claim(directory):
            said += _try(recover, directory)
            store.release(directory)
    for mixed, streams in store.unfinished_mixed():
        if not store.claim(mixed):
            continue
        for stream in streams:
            said += _try(recover, stream)
        said += _try(recover_mixed, mixed)
        store.release(mixed)
    for line in said:
        _log.warning(line)
    return said


def _try(recovering: Callable[[RunDirectory], None], directory: RunDirectory) -> list[str]:
    if entries_of(read_journal(directory.path), "given_up"):
        return []
    try:
        recovering(directory)
    except (LoadgenError, ValueError, LookupError, TypeError, OSError) as error:
        Journal(directory.path).write("given_up", reason=str(error))
        return [f"{directory.path}: {DIED}; nothing to recover ({error})"]
    return [f"{directory.path}: {DIED}; partial results written"]


def recover(directory: RunDirectory) -> None:
    """Make the results of one run from what is on the disk. Raises RunError without a load."""
    scan = scan_journal(directory.path)
    entries = scan.entries
    started = entries_of(entries, "start")
    if scan.gaps and not all(entries_of(entries, name) for name in ("run", "prepared", "start")):
        raise RunError(f"{'; '.join(scan.gaps)}: the plan is not known; series/ holds the records")
    if not started:
        raise RunError("it had not started its load")
    run, prepared = entries_of(entries, "run")[0], entries_of(entries, "prepared")[0]
    settings = Settings.model_validate(run["settings"])
    worker_count = prepared["worker_count"]
    series = tuple(_series_facts(entries, entry, worker_count) for entry in started)
    write_results(
        directory,
        Material(
            settings=settings,
            facts=replace(
                _run_facts(run, prepared, series),
                notes=(DIED, *scan.notes),
                gaps=tuple(scan.gaps),
                searched=tuple(entry["passed"] for entry in entries_of(entries, "searched")),
            ),
            plans=_plans(settings, prepared, started),
            worker_count=worker_count,
        ),
    )
    directory.drop_segments()


def _plans(settings: Settings, prepared: Entry, started: list[Entry]) -> list[SeriesPlan]:
    counts = counts_from_journal(prepared)
    trace = prepared["trace_ns"]
    trace_ns = None if trace is None else np.array(trace, dtype=np.int64)
    specs = series_specs(settings, counts)
    return [
        plan_series(settings, counts, spec_of_start(specs, entry), trace_ns) for entry in started
    ]


def counts_from_journal(prepared: Entry) -> SampleCounts:
    """Sizes of the data, and its sequences where some were played."""
    sequences = prepared.get("sequences")
    return SampleCounts(
        prepared["total_sample_count"],
        prepared["performance_sample_count"],
        SequenceSet.of(sequences) if sequences else None,
    )


def spec_of_start(specs: list[SeriesSpec], entry: Entry) -> SeriesSpec:
    """Which series a start in the journal began: a planned one, or one of a peak search."""
    index, rate = entry["series_index"], entry.get("target_qps")
    return specs[index] if rate is None else peak_series(specs[-1], index, rate)


def _series_facts(entries: list[Entry], start: Entry, worker_count: int) -> SeriesFacts:
    """The facts that were journalled at the series' end, else what is left: all workers lost."""
    index = start["series_index"]
    ended = [e["facts"] for e in entries_of(entries, "series")]
    for facts in ended:
        if facts["series_index"] == index:
            return facts_from_journal(facts)
    stops = [e["stop_ns"] for e in entries_of(entries, "stop") if e["series_index"] == index]
    return SeriesFacts(
        series_index=index,
        workers=tuple(
            WorkerFacts(worker_index=worker, lost=True, lost_reason=DIED)
            for worker in range(worker_count)
        ),
        stop_ns=stops[0] if stops else None,
        start_unix_ns=start["start_unix_ns"],
        interrupted=True,
    )


def facts_from_journal(facts: dict[str, Any]) -> SeriesFacts:
    """The facts of an ended series as the journal keeps them. Raises TypeError for others."""
    return SeriesFacts(
        **{
            **facts,
            "workers": tuple(WorkerFacts(**worker) for worker in facts["workers"]),
            "errors": tuple(ErrorFacts(**error) for error in facts["errors"]),
            "clocks": tuple(ClockFacts(**clock) for clock in facts["clocks"]),
            "server": ServerFacts.from_journal(server) if (server := facts.get("server")) else None,
        }
    )


def _run_facts(run: Entry, prepared: Entry, series: tuple[SeriesFacts, ...]) -> RunFacts:
    facts = RunFacts(
        run_id=run["run_id"],
        plan_hash=prepared["plan_hash"],
        workload_hash=prepared["workload_hash"],
        series=series,
        suts=tuple(SutFacts(**sut) for sut in prepared["suts"]),
        preprocess_ns=prepared["preprocess_ns"],
        dataset_name=prepared["dataset_name"],
        dataset_hash=prepared["dataset_hash"],
        total_sample_count=prepared["total_sample_count"],
        performance_sample_count=prepared["performance_sample_count"],
        environment=environment(),
    )
    return replace(facts, interrupted=True, interruption=DIED)
