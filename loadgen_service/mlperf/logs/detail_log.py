"""mlperf_log_detail.txt: one JSON object a line, keys and order as LoadGen's (specification 5.2).

Decides which line says what; how values are written is log_values' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen_service.core.units import NS_PER_MS
from loadgen_service.mlperf.logs.detail_results import result_pairs
from loadgen_service.mlperf.logs.inputs import LogInputs, Notice, SeriesLog
from loadgen_service.mlperf.logs.parameters import Pairs, effective_values, requested
from loadgen_service.mlperf.logs.problems import Problem
from loadgen_service.mlperf.logs.result import judged_result
from loadgen_service.mlperf.logs.source_locations import location_of
from loadgen_service.mlperf.logs.values import (
    LogValue,
    fraction_text,
    json_text,
    power_time,
    test_datetime,
)

_CONTENTION: Final = (
    "logger_swap_request_slots_retry_count",
    "logger_swap_request_slots_retry_retry_count",
    "logger_swap_request_slots_retry_reencounter_count",
    "logger_start_reading_entries_retry_count",
    "logger_tls_total_log_cas_fail_count",
    "logger_tls_total_swap_buffers_slot_retry_count",
)
"""Counters of LoadGen's own logger; we have no such contention."""

_ENDED: Final = "Ending naturally: Minimum query count and test duration met."
_ESCAPED: Final = frozenset({"loadgen_git_log_message", "loadgen_git_status_message"})
"""The only strings that LoadGen escapes."""

_HALVING: Final = "FindPeakPerformanceBinarySearch:"
"""Begins the one kind of step that LoadGen says after loading the samples."""

_SEARCH_LINES: Final = {
    "Starting FindPeakPerformance": 954,
    "FindPeakPerformance: Check validity": 976,
    "FindBoundaries": 758,
    "FindPeakPerformance: Found boundaries": 1050,
    _HALVING: 814,
    "FindPeakPerformance: Found peak": 1075,
}

_NOTICE_LOCATIONS: Final = {
    "warning_generic_message": ("loadgen.cc", 1235),
    "error_invalid_config": ("test_settings_internal.cc", 661),
    "error_invalid_test_settings": ("test_settings_internal.cc", 85),
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line. ``location`` in LoadGen's source, where ``location_of`` the key has none."""

    key: str
    value: LogValue
    time_ns: int = 0
    is_error: bool = False
    is_warning: bool = False
    location: tuple[str, int] | None = None


def detail_lines(inputs: LogInputs) -> Iterator[str]:
    """Lines of the file, without their newlines."""
    for entry in detail_entries(inputs):
        yield _line(inputs, entry)


def detail_entries(inputs: LogInputs) -> Iterator[LogEntry]:
    """All entries in LoadGen's order."""
    before = [notice for notice in inputs.notices if notice.key == "error_invalid_config"]
    if inputs.strict:  # they come from reading the files, before the log knows its own start
        yield from map(_notice, before)
    for key, value in _head(inputs):
        yield LogEntry(key, value)
    for notice in inputs.notices:
        if notice not in before or not inputs.strict:
            yield _notice(notice)
    for key, value in requested(inputs.settings):
        yield LogEntry(f"requested_{key}", value)
    for key, value in effective_values(inputs.settings, inputs.counts):
        yield LogEntry(f"effective_{key}", value)
    said: set[str] = set()
    for one in inputs.logged:
        yield from _series(inputs, one, said)
    for text in inputs.closing:
        yield _said(text, _last_ns(inputs))
    judged = inputs.judged
    if judged is not None:
        result = judged_result(inputs.settings, judged, error_count(inputs))
        end_ns = _since_began(inputs, judged) + judged.last_completed_ns
        for key, value in result_pairs(inputs.settings, judged, result):
            yield LogEntry(key, value, end_ns)


def error_count(inputs: LogInputs) -> int:
    """Error lines of the log: LoadGen's ``num_errors``."""
    repeated = inputs.strict
    notices = sum(notice.key.startswith("error_") for notice in inputs.notices)
    problems = [problem for one in inputs.logged for problem in one.problems]
    return notices + sum(problem.count if repeated else 1 for problem in problems)


def warning_count(inputs: LogInputs) -> int:
    """Warning lines of the log."""
    return sum(notice.key.startswith("warning_") for notice in inputs.notices)


def _head(inputs: LogInputs) -> Pairs:
    build = inputs.build
    offset_s = inputs.utc_offset_s if inputs.strict else 0
    return [
        ("loadgen_version", build.version),
        ("loadgen_build_date_local", build.build_date_local),
        ("loadgen_build_date_utc", build.build_date_utc),
        ("loadgen_git_commit_date", build.git_commit_date),
        ("loadgen_git_log_message", build.git_log_message),
        ("loadgen_git_status_message", build.git_status_message),
        ("loadgen_file_sha1", build.file_sha1),
        ("test_datetime", test_datetime(inputs.began_unix_ns, offset_s)),
        ("sut_name", inputs.sut_name),
        ("get_sut_name_duration_ns", inputs.sut_name_duration_ns),
        ("qsl_name", inputs.qsl_name),
        ("qsl_reported_total_count", inputs.counts.total),
        ("qsl_reported_performance_count", inputs.counts.performance),
    ]


def _notice(notice: Notice) -> LogEntry:
    return LogEntry(
        notice.key,
        notice.text,
        is_error=notice.key.startswith("error_"),
        is_warning=notice.key.startswith("warning_"),
        location=_NOTICE_LOCATIONS.get(notice.key, ("", 0)),
    )


def _series(inputs: LogInputs, one: SeriesLog, said: set[str]) -> Iterator[LogEntry]:
    """One series: what was loaded, generated and issued; ``said``: kinds already begun."""
    plan, at = one.plan, _since_began(inputs, one)
    if plan.spec.kind not in said and inputs.settings.mode != "find_peak":
        said.add(plan.spec.kind)
        line = 1101 if plan.spec.kind == "accuracy" else 848
        text = f"Starting {plan.spec.kind} mode"
        yield LogEntry("generic_message", text, at, location=("loadgen.cc", line))
    after = [text for text in one.messages if text.startswith(_HALVING)]
    for text in one.messages:
        if text not in after:
            yield _said(text, at)
    if one.loads:
        yield LogEntry("loaded_qsl_set", plan.spec.loaded.tolist(), at)
    for text in after:
        yield _said(text, at)
    yield LogEntry("generated_query_count", plan.generated_query_count, at)
    yield LogEntry("generated_samples_per_query", plan.samples_per_query, at)
    yield LogEntry("generated_query_duration", plan.generated_duration_ns, at)
    end_ns = at + one.last_completed_ns
    if one.ended_naturally:
        issued_ns = at + (one.figures.loadgen.final_query_issued_ns or 0)
        location = ("issue_query_controller.cc", 482)
        yield LogEntry("generic_message", _ENDED, issued_ns, location=location)
    for problem in one.problems:
        yield from _problem(inputs, problem, end_ns)
    for key in _CONTENTION:
        yield LogEntry(key, 0, end_ns)
    yield LogEntry("power_begin", power_time(one.start_unix_ns), end_ns)
    yield LogEntry("power_end", power_time(one.start_unix_ns + one.last_completed_ns), end_ns)


def _said(text: str, time_ns: int) -> LogEntry:
    """A step of a peak search."""
    line = next((n for words, n in _SEARCH_LINES.items() if text.startswith(words)), 0)
    return LogEntry("generic_message", text, time_ns, location=("loadgen.cc", line))


def _problem(inputs: LogInputs, problem: Problem, time_ns: int) -> Iterator[LogEntry]:
    text, lines = problem.text, 1
    if inputs.strict:
        lines = problem.count
    elif problem.count > 1:
        text = f"{text} ({problem.count} times)"
    entry = LogEntry("error_runtime", text, time_ns, is_error=True, location=problem.location)
    for _ in range(lines):
        yield entry


def _last_ns(inputs: LogInputs) -> int:
    ends = [_since_began(inputs, one) + one.last_completed_ns for one in inputs.logged]
    return max(ends, default=0)


def _since_began(inputs: LogInputs, one: SeriesLog) -> int:
    return max(0, one.start_unix_ns - inputs.began_unix_ns)


def _line(inputs: LogInputs, entry: LogEntry) -> str:
    strict = inputs.strict
    source, number = entry.location or location_of(entry.key, inputs.settings.scenario)
    if not strict or not source:
        source, number = "loadgen_service", 0
    value = json_text(entry.value, strict=strict and entry.key not in _ESCAPED)
    return (
        f':::MLLOG {{"key": "{entry.key}", "value": {value}, '
        f'"time_ms": {fraction_text(entry.time_ns, NS_PER_MS)}, '
        '"namespace": "mlperf::logging", "event_type": "POINT_IN_TIME", '
        f'"metadata": {{"is_error": {json_text(entry.is_error, strict=strict)}, '
        f'"is_warning": {json_text(entry.is_warning, strict=strict)}, '
        f'"file": "{source}", "line_no": {number}, "pid": {inputs.pid}, "tid": {inputs.pid}}}}}'
    )
