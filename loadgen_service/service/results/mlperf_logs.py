"""LoadGen's log files of a run that our own engine issued: from facts, figures and responses.

Decides which responses go into the accuracy log and what the run is called there; how the files are
written is the renderers' business. Blocking: call it from a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from loadgen_service.core.facts.run import RunFacts
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.search.peak_search import replay
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import IN_PROCESS_PLATFORM, network_sut_name
from loadgen_service.core.verdict.judge import series_facts
from loadgen_service.mlperf.logs.accuracy_log import AccuracyEntry
from loadgen_service.mlperf.logs.accuracy_sampling import logged_samples
from loadgen_service.mlperf.logs.inputs import (
    Build,
    LogInputs,
    Notice,
    SeriesLog,
    reason_without_logs,
)
from loadgen_service.mlperf.logs.writer import write_mlperf_logs
from loadgen_service.qsl.logged_bytes import first_piece_bytes, sample_bytes
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_reader import read_responses
from loadgen_service.version import __version__

AUDIT_NOTICE = "Found Audit Config file ({}). Overriding TestSettings from audit.config file."

ReadTable = Callable[[SeriesPlan], RequestTable]
"""Reads a series' table again; ten million rows are not kept for a trace."""


def wants_logs(settings: Settings) -> bool:
    """Whether this run's log files are ours to write: the official LoadGen writes its own."""
    return (
        settings.engine == "native"
        and settings.writes_mlperf_logs
        and not reason_without_logs(settings)
    )


def note_without_logs(settings: Settings) -> str:
    """Why a run that was asked for log files gets none; empty where it gets them."""
    if settings.engine != "native" or not settings.mlperf_logs:
        return ""
    reason = reason_without_logs(settings)
    return f"no mlperf_log files were written: {reason}" if reason else ""


def write_logs(
    directory: RunDirectory,
    settings: Settings,
    facts: RunFacts,
    series: Sequence[SeriesLog],
    read_table: ReadTable,
) -> None:
    """Write summary, detail and accuracy log, and the trace if asked for. Raises RunError."""
    plans = [one.plan for one in series if one.plan.spec.kind != "warmup"]
    trace = (
        (plan, read_table(plan), series_facts(facts, plan.spec.index).start_unix_ns)
        for plan in plans
    )
    write_mlperf_logs(
        directory.path,
        log_inputs(settings, facts, series),
        accuracy=_entries(directory, settings, facts, plans, read_table),
        trace=trace if settings.mlperf_trace else None,
    )


def log_inputs(settings: Settings, facts: RunFacts, series: Sequence[SeriesLog]) -> LogInputs:
    """A run as its logs tell it."""
    rated = [
        place
        for place, one in enumerate(series)
        if facts.rated_series is not None and one.plan.spec.index == facts.rated_series
    ]
    series, closing = _with_search(settings, facts, series)
    workers = [worker for one in facts.series for worker in one.workers]
    return LogInputs(
        settings=settings,
        facts=facts,
        series=series,
        sut_name=_sut_name(facts),
        qsl_name=facts.dataset_name,
        utc_offset_s=time.localtime().tm_gmtoff,
        pid=workers[0].pid if workers else 0,
        build=Build(version=f"loadgen-service {__version__}"),
        notices=_notices(settings),
        result=rated[0] if rated else None,
        closing=closing,
    )


def _sut_name(facts: RunFacts) -> str:
    """What LoadGen would call the SUT: only one behind a network may be called a network SUT."""
    if facts.suts and all(sut.platform == IN_PROCESS_PLATFORM for sut in facts.suts):
        return " ".join(sut.name for sut in facts.suts)
    return network_sut_name(sut.name or sut.address for sut in facts.suts)


def _with_search(
    settings: Settings, facts: RunFacts, series: Sequence[SeriesLog]
) -> tuple[Sequence[SeriesLog], tuple[str, ...]]:
    """A peak search's series with what was said before each, and what was said after the last."""
    if not settings.searches_peak:
        return series, ()
    _, said = replay(settings, facts.searched)
    measured = [one for one in series if one.plan.spec.kind == "performance"]
    first_halving = next(
        (n for n, lines in enumerate(said) if any("Found boundaries" in one for one in lines)),
        len(measured),
    )
    told = [
        replace(one, messages=said[n] if n < len(said) else (), loads=n <= first_halving)
        for n, one in enumerate(measured)
    ]
    others = [one for one in series if one.plan.spec.kind != "performance"]
    return [*others, *told], said[len(measured)] if len(measured) < len(said) else ()


def _notices(settings: Settings) -> list[Notice]:
    if not settings.audit_config:
        return []
    return [Notice("warning_generic_message", AUDIT_NOTICE.format(settings.audit_config))]


def _entries(
    directory: RunDirectory,
    settings: Settings,
    facts: RunFacts,
    plans: Iterable[SeriesPlan],
    read_table: ReadTable,
) -> Iterator[AccuracyEntry]:
    """Logged responses of all series, as they came; those of each worker by themselves."""
    counts = SampleCounts(facts.total_sample_count, facts.performance_sample_count)
    for plan in plans:
        logged = logged_samples(settings, counts, plan)
        if not logged.any():
            continue
        token_counts = read_table(plan).token_count if settings.use_token_latencies else None
        first_pieces = not SCENARIOS[plan.scenario].pulled
        seen = np.zeros(plan.request_count, np.bool_)
        for row, message in read_responses(directory.segments(plan.spec.index)):
            if not 0 <= row < plan.request_count or seen[row]:
                continue  # a stranger or a double is the request table's business
            seen[row] = True
            tokens = None if token_counts is None else max(0, int(token_counts[row]))
            for place, data in _logged_of(plan, row, message, logged):
                yield AccuracyEntry(
                    seq_id=plan.spec.first_sequence_id + place,
                    sample_index=int(plan.samples[place]),
                    data=data,
                    token_data=first_piece_bytes(message)
                    if tokens is not None and first_pieces
                    else None,
                    token_count=tokens,
                )


def _logged_of(
    plan: SeriesPlan, row: int, message: bytes, logged: np.ndarray
) -> Iterator[tuple[int, bytes]]:
    """(place in the plan, answer) of each logged sample of a request."""
    start, stop = plan.request_span(row)
    for place, data in zip(range(start, stop), sample_bytes(message, stop - start), strict=True):
        if logged[place]:
            yield place, data
