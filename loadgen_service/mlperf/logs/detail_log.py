"""mlperf_log_detail.txt: one JSON object a line, keys and order as LoadGen's (specification 5.2).

Decides which line says what; how values are written is log_values' business.

The result part of the detail log: keys and values of the judged series (specification 5.2).

Also the rates that detail and summary share. Decides no validity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.mlperf.logs.inputs import LogInputs, Notice, Problem, SeriesLog
from loadgen_service.mlperf.logs.parameters import (
    Pairs,
    effective_values,
    requested,
    server_latency_ns,
)
from loadgen_service.mlperf.logs.result import Result, judged_result
from loadgen_service.mlperf.logs.source_locations import location_of
from loadgen_service.mlperf.logs.values import (
    LogValue,
    fraction_text,
    json_text,
    power_time,
    test_datetime,
)

PERCENTS = ("50.00", "90.00", "95.00", "97.00", "99.00", "99.90")
_FIELDS = ("p50", "p90", "p95", "p97", "p99", "p99_9")


def percentile_values(found: Distribution | None) -> list[int | None]:
    """The values of ``PERCENTS``."""
    return [getattr(found, name) if found else None for name in _FIELDS]


def result_pairs(settings: Settings, one: SeriesLog, result: Result) -> Pairs:
    """Keys and values in LoadGen's order, ``num_errors`` last."""
    pairs: Pairs = [("result_validity", "VALID" if result.valid else "INVALID")]
    if settings.scenario == "server":
        pairs.append(("result_perf_constraints_met", result.latency_met))
    pairs += [
        ("result_min_duration_met", result.min_duration_met),
        ("result_min_queries_met", result.min_queries_met),
        ("early_stopping_met", result.early_stopping_met),
    ]
    if not result.valid:
        pairs.append(("result_invalid_reason", result.invalid_reason))
    pairs += _stopping_pairs(one, result)
    pairs.append(("result_query_count", query_count(settings, one)))
    pairs += _SCENARIO_PAIRS[settings.scenario](settings, one)
    pairs += _latency_pairs("", one.sample_latency_ns)
    if one.tokens is not None:
        pairs += _token_pairs(settings, one)
    if settings.infer_token_latencies:
        pairs += _inferred_pairs(settings, one)
    return [*pairs, ("num_errors", result.error_count)]


def query_count(settings: Settings, one: SeriesLog) -> int:
    """Queries issued; offline's one query counts once a sample of it was."""
    if settings.scenario == "offline":
        return int(one.figures.samples.issued > 0)
    return one.figures.queries.issued


def rate(value: float | None, count: int) -> float:
    """``value``, or what dividing ``count`` by no time gives in C++: nan for 0, else infinity."""
    if value is not None:
        return value
    return math.inf if count > 0 else math.nan


def scheduled_rate(one: SeriesLog) -> float:
    """Server: scheduled samples a second."""
    count = one.figures.samples.issued - 1
    return rate(one.figures.loadgen.scheduled_samples_per_second, count)


def completed_rate(one: SeriesLog) -> float:
    """Server: completed samples a second."""
    count = one.figures.samples.completed - 1
    return rate(one.figures.loadgen.completed_samples_per_second, count)


def overhead_rates(one: SeriesLog) -> tuple[float, float]:
    """SingleStream: queries a second with and without LoadGen's own time."""
    own = one.figures.loadgen
    with_overhead = rate(own.qps_with_overhead, one.figures.queries.issued - 1)
    return with_overhead, rate(own.qps_without_overhead, 1)


def inferred_rate(settings: Settings, one: SeriesLog) -> float:
    """Samples a second times the benchmark's fixed number of tokens."""
    samples = one.figures.loadgen.samples_per_second
    made = completed_rate(one) if settings.scenario == "server" else rate(samples, 1)
    return made * settings.token_latency_scaling_factor


def _stopping_pairs(one: SeriesLog, result: Result) -> Pairs:
    if one.tokens is None:
        return [("early_stopping_result", _one_line(result.stopping_text))]
    return [
        ("early_stopping_ttft_result", _one_line(result.ttft_text)),
        ("early_stopping_tpot_result", _one_line(result.tpot_text)),
    ]


def _one_line(text: str) -> str:
    return text.replace("\n", " ")


def stream_estimates(settings: Settings, one: SeriesLog) -> tuple[int, int]:
    """Early stopping's estimates at the target and at the 99th percentile; 0 where not enough.

    In token mode LoadGen writes those of its last pass, over times to the first token.
    """
    stopping = one.figures.loadgen.early_stopping
    if settings.strict_loadgen and one.tokens is not None and settings.scenario != "multi_stream":
        stopping = one.tokens.ttft_stopping or one.tokens.tpot_stopping
    if stopping is None:
        return 0, 0
    return stopping.estimate_ns or 0, stopping.estimate_99_ns or 0


def _single_stream(settings: Settings, one: SeriesLog) -> Pairs:
    with_overhead, without = overhead_rates(one)
    estimate, estimate_99 = stream_estimates(settings, one)
    return [
        ("result_qps_with_loadgen_overhead", with_overhead),
        ("result_qps_without_loadgen_overhead", without),
        ("early_stopping_latency_ss", estimate),
        ("early_stopping_latency_ms", estimate_99),
    ]


def _multi_stream(settings: Settings, one: SeriesLog) -> Pairs:
    return [
        *_latency_pairs("_query", one.figures.latency_ns),
        ("early_stopping_latency_ms", stream_estimates(settings, one)[0]),
    ]


def _server(settings: Settings, one: SeriesLog) -> Pairs:
    late = one.figures.loadgen.overlatency_count
    if not server_latency_ns(settings):  # LoadGen counts against a limit of 0
        late = one.figures.samples.issued
    return [
        ("result_overlatency_query_count", late),
        ("result_scheduled_samples_per_sec", scheduled_rate(one)),
        ("result_completed_samples_per_sec", completed_rate(one)),
    ]


def _offline(settings: Settings, one: SeriesLog) -> Pairs:
    return [("result_samples_per_second", rate(one.figures.loadgen.samples_per_second, 1))]


_SCENARIO_PAIRS = {
    "single_stream": _single_stream,
    "multi_stream": _multi_stream,
    "server": _server,
    "offline": _offline,
}


def _latency_pairs(unit: str, found: Distribution | None) -> Pairs:
    per = "_per_query" if unit else ""
    pairs: Pairs = [
        (f"result_min{unit}_latency_ns", found.min if found else None),
        (f"result_max{unit}_latency_ns", found.max if found else None),
        (f"result_mean{unit}_latency_ns", found.mean if found else None),
    ]
    for percent, value in zip(PERCENTS, percentile_values(found), strict=True):
        pairs.append((f"result_{percent}_percentile{per}_latency_ns", value))
    return pairs


def _token_pairs(settings: Settings, one: SeriesLog) -> Pairs:
    tokens = one.tokens
    assert tokens is not None
    per_second = rate(tokens.tokens_per_second, tokens.token_count)
    if settings.scenario == "offline":
        return [("result_tokens_per_second", per_second)]
    first, per_token = tokens.ttft_ns, tokens.loadgen_tpot_ns
    pairs: Pairs = [
        ("result_first_token_min_latency_ns", first.min if first else None),
        ("result_first_token_max_latency_ns", first.max if first else None),
        ("result_first_token_mean_latency_ns", first.mean if first else None),
    ]
    for percent, value in zip(PERCENTS, percentile_values(first), strict=True):
        pairs.append((f"result_first_token_{percent}_percentile_latency_ns", value))
    with_overhead = rate(tokens.with_overhead_per_second, tokens.token_count)
    without = rate(tokens.per_latency_second, tokens.token_count)
    if settings.strict_loadgen:  # LoadGen divides by nanoseconds here, not by seconds
        without /= 1e9
    pairs.append(("result_token_throughput_with_loadgen_overhead", with_overhead))
    pairs.append(("result_token_throughput", without))
    for percent, value in zip(PERCENTS, percentile_values(per_token), strict=True):
        pairs.append((f"result_time_per_output_token_{percent}_percentile_ns", value))
    return [
        *pairs,
        ("result_time_to_output_token_min", per_token.min if per_token else None),
        ("result_time_to_output_token_max", per_token.max if per_token else None),
        ("result_time_to_output_token_mean", per_token.mean if per_token else None),
        ("result_completed_tokens_per_second", per_second),
    ]


def _inferred_pairs(settings: Settings, one: SeriesLog) -> Pairs:
    if settings.scenario == "server":
        key = "result_inferred_completed_tokens_per_second"
    elif settings.scenario == "offline":
        key = "result_inferred_tokens_per_second"
    else:
        return []
    return [(key, inferred_rate(settings, one))]


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
