"""The result part of the detail log: keys and values of the judged series (specification 5.2).

Also the rates that detail and summary share. Decides no validity.
"""

from __future__ import annotations

import math

from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.mlperf.logs.inputs import SeriesLog
from loadgen_service.mlperf.logs.parameters import Pairs, server_latency_ns
from loadgen_service.mlperf.logs.result import Result

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
