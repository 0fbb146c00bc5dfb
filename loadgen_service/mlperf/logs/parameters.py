"""Requested and effective settings under LoadGen's names, in the order of its logs.

What holds follows from core.effective (specification 1.2); only the names are decided here.
"""

from __future__ import annotations

from loadgen_service.core.plan.effective_settings import (
    SampleCounts,
    effective,
    performance_sample_count,
)
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import MODE_NAMES, SCENARIO_NAMES
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.mlperf.logs.values import LogValue

Pairs = list[tuple[str, LogValue]]


def requested(settings: Settings) -> Pairs:
    """``requested_*`` keys without their prefix."""
    return [
        ("scenario", SCENARIO_NAMES[settings.scenario]),
        ("test_mode", MODE_NAMES[settings.mode]),
        *_of_scenario(settings),
        ("min_duration_ms", settings.min_duration_ms),
        ("max_duration_ms", settings.max_duration_ms),
        ("min_query_count", settings.min_query_count),
        ("max_query_count", settings.max_query_count),
        *_draws(settings),
        ("performance_sample_count_override", settings.performance_sample_count),
        ("accuracy_sample_count_override", settings.accuracy_sample_count),
        ("sample_concatenate_permutation", settings.sample_concatenate_permutation),
        *_of_tokens(settings),
    ]


def effective_values(settings: Settings, counts: SampleCounts) -> Pairs:
    """``effective_*`` keys without their prefix; the summary takes its parameters from here."""
    wanted = effective(settings, counts, "performance")
    server = settings.scenario == "server"
    return [
        ("scenario", SCENARIO_NAMES[settings.scenario]),
        ("test_mode", MODE_NAMES[settings.mode]),
        ("samples_per_query", wanted.samples_per_query),
        ("target_qps", wanted.target_qps),
        ("target_latency_ns", server_latency_ns(settings) if server else 0),
        ("target_latency_percentile", settings.percentile),
        ("max_async_queries", settings.max_async_queries if server else 1),
        ("target_duration_ms", wanted.target_duration_ns // NS_PER_MS),
        ("min_duration_ms", settings.min_duration_ms),
        ("max_duration_ms", settings.max_duration_ms),
        ("min_query_count", wanted.min_query_count),
        ("max_query_count", settings.max_query_count),
        ("min_sample_count", wanted.min_sample_count),
        *_draws(settings),
        ("performance_sample_count", performance_sample_count(settings, counts)),
        ("accuracy_sample_count", settings.accuracy_sample_count or counts.total),
        ("sample_concatenate_permutation", settings.sample_concatenate_permutation),
    ]


def server_latency_ns(settings: Settings) -> int:
    """Server's plain limit. Token runs without one of their own have none, as MLPerf's models."""
    if settings.use_token_latencies and not settings.target_latency_ms:
        return 0
    return settings.latency_limit_ns


def _of_scenario(settings: Settings) -> Pairs:
    # LoadGen holds these whole numbers as doubles.
    expected_ns = float(int(settings.expected_latency_ms * NS_PER_MS))
    if settings.scenario == "single_stream":
        return [
            ("single_stream_expected_latency_ns", expected_ns),
            ("single_stream_target_latency_percentile", settings.percentile),
        ]
    if settings.scenario == "multi_stream":
        return [
            ("multi_stream_expected_latency_ns", expected_ns),
            ("multi_stream_target_latency_percentile", settings.percentile),
            ("multi_stream_samples_per_query", settings.samples_per_query),
        ]
    if settings.scenario == "offline":
        return [("offline_expected_qps", settings.target_qps)]
    step = settings.find_peak_boundary_step_size
    return [
        ("server_target_qps", settings.target_qps),
        ("server_target_latency_ns", server_latency_ns(settings)),
        ("server_target_latency_percentile", settings.percentile),
        ("server_coalesce_queries", settings.coalesce_queries),
        (
            "server_find_peak_qps_decimals_of_precision",
            settings.find_peak_decimals_of_precision,
        ),
        ("server_find_peak_qps_boundary_step_size", step),
        ("server_max_async_queries", settings.max_async_queries),
        ("server_num_issue_query_threads", 0),
    ]


def _draws(settings: Settings) -> Pairs:
    return [
        ("qsl_rng_seed", settings.seeds.qsl),
        ("sample_index_rng_seed", settings.seeds.sample_index),
        ("schedule_rng_seed", settings.seeds.schedule),
        ("accuracy_log_rng_seed", settings.accuracy_log_rng_seed),
        ("accuracy_log_probability", settings.accuracy_log_probability),
        ("accuracy_log_sampling_target", settings.accuracy_log_sampling_target),
        ("print_timestamps", settings.print_timestamps),
        ("performance_issue_unique", settings.performance_issue_unique),
        ("performance_issue_same", settings.performance_issue_same),
        ("performance_issue_same_index", settings.performance_issue_same_index),
    ]


def _of_tokens(settings: Settings) -> Pairs:
    if not settings.use_token_latencies:
        return []
    used: Pairs = [("use_token_latencies", True)]
    if settings.scenario == "offline":
        return used
    return [
        *used,
        ("server_ttft_latency", settings.ttft_latency_ms * NS_PER_MS),
        ("server_tpot_latency", settings.tpot_latency_ms * NS_PER_MS),
    ]
