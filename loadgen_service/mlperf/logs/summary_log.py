"""mlperf_log_summary.txt: LoadGen's page for people (specification 5.1), line by line.

Line shapes are LoadGen's own, since its compliance scripts match them; numbers are the detail
log's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import MODE_NAMES, SCENARIO_NAMES
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.mlperf.logs.detail_log import (
    PERCENTS,
    completed_rate,
    error_count,
    inferred_rate,
    overhead_rates,
    percentile_values,
    rate,
    scheduled_rate,
    warning_count,
)
from loadgen_service.mlperf.logs.inputs import LogInputs, SeriesLog
from loadgen_service.mlperf.logs.parameters import effective_values
from loadgen_service.mlperf.logs.result import Result, judged_result, percent
from loadgen_service.mlperf.logs.values import fixed_text, number_text

_RULE: Final = "=" * 48
_PARAMETERS: Final = (
    "samples_per_query",
    "target_qps",
    "target_latency_ns",
    "max_async_queries",
    "min_duration_ms",
    "max_duration_ms",
    "min_query_count",
    "max_query_count",
    "qsl_rng_seed",
    "sample_index_rng_seed",
    "schedule_rng_seed",
    "accuracy_log_rng_seed",
    "accuracy_log_probability",
    "accuracy_log_sampling_target",
    "print_timestamps",
    "performance_issue_unique",
    "performance_issue_same",
    "performance_issue_same_index",
    "performance_sample_count",
    "accuracy_sample_count",
)
_LABELS: Final = {
    "target_latency_ns": "target_latency (ns): ",
    "min_duration_ms": "min_duration (ms): ",
    "max_duration_ms": "max_duration (ms): ",
}
_EQUAL_ISSUE: Final = (
    "WARNING: sample_concatenate_permutation was set to true. ",
    "Generated samples per query might be different as the one in the setting.",
    "Check the generated_samples_per_query line in the detailed log for the real",
    "samples_per_query value",
)


def summary_lines(inputs: LogInputs) -> Iterator[str]:
    """Lines of the file, without their newlines. Accuracy runs have the two counts alone."""
    errors, warnings = error_count(inputs), warning_count(inputs)
    judged = inputs.judged
    if judged is not None:
        result = judged_result(inputs.settings, judged, errors)
        yield from _section("MLPerf Results Summary")
        yield from _verdict(inputs, judged, result)
        yield ""
        yield from _section("Additional Stats")
        yield from _stats(inputs.settings, judged)
        yield ""
        yield from _section("Test Parameters Used")
        yield from _parameters(inputs, judged)
    yield ""
    yield _tally(warnings, "No warnings", "warning", "warnings")
    yield ""
    yield _tally(errors, "No errors", "ERROR", "ERRORS")


def _section(title: str) -> list[str]:
    return [_RULE, title, _RULE]


def _tally(count: int, none: str, one: str, many: str) -> str:
    if not count:
        return f"{none} encountered during test."
    return f"{count} {one if count == 1 else many} encountered. See detailed log."


def _verdict(inputs: LogInputs, one: SeriesLog, result: Result) -> Iterator[str]:
    settings = inputs.settings
    yield f"SUT name : {inputs.sut_name}"
    yield f"Scenario : {SCENARIO_NAMES[settings.scenario]}"
    yield f"Mode     : {MODE_NAMES[settings.mode]}"
    yield from _headline(settings, one)
    yield f"Result is : {'VALID' if result.valid else 'INVALID'}"
    if settings.scenario == "server":
        yield f"  Performance constraints satisfied : {_yes(result.latency_met)}"
    yield f"  Min duration satisfied : {_yes(result.min_duration_met)}"
    yield f"  Min queries satisfied : {_yes(result.min_queries_met)}"
    yield f"  Early stopping satisfied: {_yes(result.early_stopping_met)}"
    if not result.valid:
        yield "Recommendations:"
        yield from result.recommendations
    if settings.scenario == "offline":
        return
    if one.tokens is None:
        yield from ("Early Stopping Result:", *result.stopping_text.split("\n"))
    else:
        yield from ("TTFT Early Stopping Result:", *result.ttft_text.split("\n"))
        yield from ("TPOT Early Stopping Result:", *result.tpot_text.split("\n"))


def _yes(met: bool) -> str:
    return "Yes" if met else "NO"


def _headline(settings: Settings, one: SeriesLog) -> Iterator[str]:
    strict, own, tokens = settings.strict_loadgen, one.figures.loadgen, one.tokens
    target = percent(settings.percentile)
    per_second = rate(tokens.tokens_per_second, 1) if tokens else 0.0
    if settings.scenario == "server":
        yield f"Completed samples per second    : {fixed_text(completed_rate(one), strict=strict)}"
        if tokens:
            yield f"Completed tokens per second: {fixed_text(per_second, strict=strict)}"
        if settings.infer_token_latencies:
            inferred = fixed_text(inferred_rate(settings, one), strict=strict)
            yield f"Completed tokens per second (inferred): {inferred}"
    elif settings.scenario == "offline":
        yield f"Samples per second: {_number(rate(own.samples_per_second, 1), strict)}"
        if tokens:
            yield f"Tokens per second: {_number(per_second, strict)}"
        if settings.infer_token_latencies:
            yield f"Tokens per second (inferred): {_number(inferred_rate(settings, one), strict)}"
    else:
        yield f"{target}th percentile latency (ns) : {_ns(own.target_percentile_latency_ns)}"
        if tokens:
            yield (f"{target}th first token percentile latency (ns) : {_ns(tokens.ttft_target_ns)}")


def _number(value: float, strict: bool) -> str:
    return number_text(value, strict=strict, missing="unknown")


def _ns(value: int | None) -> str:
    return "infinite" if value is None else str(value)


def _stats(settings: Settings, one: SeriesLog) -> Iterator[str]:
    strict = settings.strict_loadgen
    if settings.scenario == "single_stream":
        with_overhead, without = overhead_rates(one)
        yield f"QPS w/ loadgen overhead         : {fixed_text(with_overhead, strict=strict)}"
        yield f"QPS w/o loadgen overhead        : {fixed_text(without, strict=strict)}"
        yield ""
    elif settings.scenario == "server":
        yield f"Scheduled samples per second : {fixed_text(scheduled_rate(one), strict=strict)}"
    elif settings.scenario == "multi_stream":
        yield "Per-query latency:  "
    found = one.figures.latency_ns
    yield from _spread(found, "latency (ns)                : ", "percentile latency (ns)   : ")
    if one.tokens is not None:
        yield from _token_stats(settings, one)


def _token_stats(settings: Settings, one: SeriesLog) -> Iterator[str]:
    tokens, strict = one.tokens, settings.strict_loadgen
    assert tokens is not None
    yield ""
    if settings.scenario == "single_stream":
        with_overhead = rate(tokens.with_overhead_per_second, 1)
        without = rate(tokens.per_latency_second, 1)
        yield f"TPS w/ loadgen overhead         : {fixed_text(with_overhead, strict=strict)}"
        yield f"TPS w/o loadgen overhead        : {fixed_text(without, strict=strict)}"
    elif settings.scenario == "server":
        per_second = fixed_text(rate(tokens.tokens_per_second, 1), strict=strict)
        yield f"Completed tokens per second                 : {per_second}"
    elif settings.scenario == "offline":
        return
    yield from _spread(
        tokens.ttft_ns,
        "First Token latency (ns)                : ",
        "percentile first token latency (ns)   : ",
    )
    yield ""
    yield from _spread(
        tokens.loadgen_tpot_ns,
        "Time per Output Token (ns)                : ",
        "percentile time to output token (ns)   : ",
    )


def _spread(found: Distribution | None, label: str, percentile_label: str) -> Iterator[str]:
    values = (found.min, found.max, found.mean) if found else (None, None, None)
    for name, value in zip(("Min", "Max", "Mean"), values, strict=True):
        # LoadGen lines its colons up by hand: Mean has one blank fewer before it.
        text = label.replace(" :", ":", 1) if name == "Mean" else label
        yield f"{name} {text}{_known(value)}"
    for shown, value in zip(PERCENTS, percentile_values(found), strict=True):
        yield f"{shown} {percentile_label}{_known(value)}"


def _known(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _parameters(inputs: LogInputs, one: SeriesLog) -> Iterator[str]:
    settings, strict = inputs.settings, inputs.strict
    values = dict(effective_values(settings, inputs.counts))
    if settings.mode == "find_peak":  # the peak, where the detail log has the starting value
        values["target_qps"] = one.plan.effective.target_qps
    for name in _PARAMETERS:
        if name == "target_latency_ns" and settings.use_token_latencies:
            yield f"ttft_latency (ns): {settings.ttft_latency_ms * NS_PER_MS}"
            yield f"tpot_latency (ns): {settings.tpot_latency_ms * NS_PER_MS}"
            continue
        value = values[name]
        assert isinstance(value, int | float)
        yield f"{_LABELS.get(name, f'{name} : ')}{_number(value, strict)}"
    if settings.sample_concatenate_permutation:
        yield from _EQUAL_ISSUE
