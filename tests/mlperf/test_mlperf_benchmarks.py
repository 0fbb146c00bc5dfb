"""The built-in values against the official LoadGen's own, benchmark by benchmark."""

from __future__ import annotations

import mlperf_loadgen
import pytest

from loadgen_service.mlperf.benchmarks import (
    BENCHMARKS,
    MIN_DURATION_MS,
    MULTI_STREAM_QUERY_COUNT,
    ROUNDS,
    SINGLE_STREAM_LATENCY_MS,
    Benchmark,
)

SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
NS_PER_MS = 1_000_000
LOADGEN_TOKEN_LIMIT_MS = 100
CASES = {**BENCHMARKS, "a-model-without-a-row": Benchmark()}


def official(model: str, scenario: str) -> mlperf_loadgen.TestSettings:
    settings = mlperf_loadgen.TestSettings()
    assert settings.FromConfig("", model, scenario, 0) == 0
    return settings


def _min_query_count(row: Benchmark, scenario: str) -> int:
    own = {"MultiStream": MULTI_STREAM_QUERY_COUNT, "Offline": row.offline_count}
    return own.get(scenario) or 100


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("model", CASES)
def test_row_says_what_the_official_file_says(model: str, scenario: str) -> None:
    row, theirs = CASES[model], official(model, scenario)
    assert theirs.performance_sample_count_override == row.loaded_count
    assert theirs.accuracy_sample_count_override == row.accuracy_count
    assert theirs.min_query_count == _min_query_count(row, scenario)
    assert theirs.min_duration_ms == MIN_DURATION_MS
    assert theirs.server_target_latency_ns == row.server_latency_ms * NS_PER_MS
    assert theirs.sample_concatenate_permutation == row.equal_issue
    assert theirs.use_token_latencies == row.uses_tokens
    assert theirs.infer_token_latencies == bool(row.inferred_tokens)
    assert theirs.single_stream_target_latency_percentile == row.single_stream_percentile * 0.01
    assert theirs.multi_stream_expected_latency_ns == row.multi_stream_latency_ms * NS_PER_MS
    assert theirs.single_stream_expected_latency_ns == SINGLE_STREAM_LATENCY_MS * NS_PER_MS
    ttft, tpot = (ms or LOADGEN_TOKEN_LIMIT_MS for ms in (row.ttft_ms, row.tpot_ms))
    assert (theirs.ttft_latency, theirs.tpot_latency) == (ttft * NS_PER_MS, tpot * NS_PER_MS)
    if row.inferred_tokens:
        assert theirs.token_latency_scaling_factor == row.inferred_tokens


def test_the_wheel_carries_the_seeds_of_v6_1() -> None:
    theirs, ours = official("resnet50", "Server"), ROUNDS["v6.1"]
    assert (theirs.qsl_rng_seed, theirs.sample_index_rng_seed, theirs.schedule_rng_seed) == (
        ours.qsl,
        ours.sample_index,
        ours.schedule,
    )
    assert ours.test05 == (
        theirs.test05_qsl_rng_seed,
        theirs.test05_sample_index_rng_seed,
        theirs.test05_schedule_rng_seed,
    )
