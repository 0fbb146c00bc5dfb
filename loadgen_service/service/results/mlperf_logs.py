"""LoadGen's log files of a run that our own engine issued: from facts, figures and responses.

Decides which responses go into the accuracy log and what the run is called there; how the files are
written is the renderers' business. Blocking: call it from a thread.

The official LoadGen's log files: put into the run directory unchanged, and read for its verdict.

They come from the one worker as pieces among its batches. Blocking: call it from a thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen_service.core.facts.run import OfficialFacts, RunFacts
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.search.peak_search import replay
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import IN_PROCESS_PLATFORM, network_sut_name
from loadgen_service.core.verdict.judge import series_facts
from loadgen_service.errors import RunError
from loadgen_service.mlperf.logs.accuracy_log import AccuracyEntry, logged_samples
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
from loadgen_service.service.storage.segment_reader import read_files, read_responses
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


LINE_MARK: Final = ":::MLLOG "
DETAIL_FILE: Final = "mlperf_log_detail.txt"
ALLOWED: Final = frozenset(
    {"mlperf_log_summary.txt", DETAIL_FILE, "mlperf_log_accuracy.json", "mlperf_log_trace.json"}
)
"""What a worker may write into a run directory; anything else is refused."""

ERRORS_NAMED: Final = 3

FIGURES: Final = (
    "result_scheduled_samples_per_sec",
    "result_completed_samples_per_sec",
    "result_samples_per_second",
    "early_stopping_latency_ss",
    "early_stopping_latency_ms",
    "result_mean_latency_ns",
    "result_50.00_percentile_latency_ns",
    "result_90.00_percentile_latency_ns",
    "result_99.00_percentile_latency_ns",
    "result_max_latency_ns",
)
"""Result keys that the summary repeats, to stand beside our own."""


def place_official_logs(
    directory: RunDirectory, plans: Sequence[SeriesPlan]
) -> OfficialFacts | None:
    """Write the files that the worker sent; what the detail log says, None where none came.

    Raises RunError naming the file where the disk refuses, or a piece that does not belong here.
    """
    contents: dict[str, list[bytes]] = {}
    for plan in plans:
        for name, offset, content in read_files(directory.segments(plan.spec.index)):
            pieces = contents.setdefault(name, [])
            if name not in ALLOWED or offset != sum(map(len, pieces)):
                raise RunError(f"{name!r} from a worker is no whole official log; run again")
            pieces.append(content)
    for name, pieces in contents.items():
        directory.write_whole(name, partial(_write, pieces))
    if DETAIL_FILE not in contents:
        return None
    return read_detail(directory.path / DETAIL_FILE)


def _write(pieces: Sequence[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)


def read_detail(path: Path) -> OfficialFacts:
    """What a detail log says: version, verdict, counts, errors."""
    values: dict[str, Any] = {}
    errors: list[str] = []
    error_count = 0
    for entry in _detail_entries(path):
        values[entry["key"]] = entry["value"]
        if entry["metadata"]["is_error"]:
            error_count += 1
            if len(errors) < ERRORS_NAMED:
                errors.append(f"{entry['key']}: {entry['value']}")
    verdict = values.get("result_validity")
    count = values.get("result_query_count")
    return OfficialFacts(
        version=str(values.get("loadgen_version", "")).partition(" ")[0],
        valid=None if verdict is None else verdict == "VALID",
        reason=str(values.get("result_invalid_reason", "")).strip(),
        query_count=int(count) if isinstance(count, int) else None,
        error_count=error_count,
        errors=tuple(errors),
        figures={name: values[name] for name in FIGURES if _is_number(values.get(name))},
    )


def _detail_entries(path: Path) -> Iterator[dict[str, Any]]:
    """Lines that are JSON; LoadGen writes -nan where a run has a single query."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith(LINE_MARK):
                continue
            try:
                yield json.loads(line[len(LINE_MARK) :])
            except json.JSONDecodeError:
                continue


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
