"""Plans beside those of the official LoadGen, of drawn settings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from official_loadgen import OfficialLoadGen

from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, plan_series, series_specs
from loadgen_service.core.scenarios import ScenarioName
from loadgen_service.core.settings import Settings

SEEDS = st.integers(0, 2**64 - 1)


OFFICIAL_SCENARIO = {
    "single_stream": "SingleStream",
    "multi_stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}


OFFICIAL_MODE = {
    "performance": "PerformanceOnly",
    "accuracy": "AccuracyOnly",
    "submission": "SubmissionRun",
}


@st.composite
def drawn_settings(draw: st.DrawFn, scenario: ScenarioName) -> Settings:
    unique = draw(st.booleans())
    return Settings(
        scenario=scenario,
        mode=draw(st.sampled_from(sorted(OFFICIAL_MODE))),
        target_qps=draw(st.floats(2_000, 50_000)),
        expected_latency_ms=draw(st.floats(0.05, 3)),
        samples_per_query=draw(st.integers(1, 12)),
        min_duration_ms=draw(st.integers(0, 15)),
        min_query_count=draw(st.integers(1, 150)),
        max_query_count=draw(st.sampled_from([0, 0, 1, 7, 100])),
        performance_sample_count=draw(st.sampled_from([0, 5, 24])),
        accuracy_sample_count=draw(st.sampled_from([0, 0, 9, 30, 200])),
        test05=draw(st.sampled_from([False, False, False, True])),
        performance_issue_unique=unique,
        performance_issue_same=draw(st.booleans()),
        performance_issue_same_index=draw(st.integers(0, 3)),
        sample_concatenate_permutation=draw(st.booleans())
        and not (unique and scenario == "multi_stream"),
        qsl_rng_seed=draw(SEEDS),
        sample_index_rng_seed=draw(SEEDS),
        schedule_rng_seed=draw(SEEDS),
        test05_qsl_rng_seed=draw(SEEDS),
        test05_sample_index_rng_seed=draw(SEEDS),
        test05_schedule_rng_seed=draw(SEEDS),
    )


def official_settings(ours: Settings) -> dict[str, Any]:
    """Our settings under the official names."""
    expected_ns = ours.expected_latency_ms * 1_000_000
    return {
        "scenario": OFFICIAL_SCENARIO[ours.scenario],
        "mode": OFFICIAL_MODE[ours.mode],
        "server_target_qps": ours.target_qps,
        "offline_expected_qps": ours.target_qps,
        "single_stream_expected_latency_ns": expected_ns,
        "multi_stream_expected_latency_ns": expected_ns,
        "multi_stream_samples_per_query": ours.samples_per_query,
        "performance_sample_count_override": ours.performance_sample_count,
        "accuracy_sample_count_override": ours.accuracy_sample_count,
        "accuracy_log_probability": 1.0,
        "min_duration_ms": ours.min_duration_ms,
        "min_query_count": ours.min_query_count,
        "max_query_count": ours.max_query_count,
        "performance_issue_unique": ours.performance_issue_unique,
        "performance_issue_same": ours.performance_issue_same,
        "performance_issue_same_index": ours.performance_issue_same_index,
        "sample_concatenate_permutation": ours.sample_concatenate_permutation,
        "qsl_rng_seed": ours.qsl_rng_seed,
        "sample_index_rng_seed": ours.sample_index_rng_seed,
        "schedule_rng_seed": ours.schedule_rng_seed,
        "test05": ours.test05,
        "test05_qsl_rng_seed": ours.test05_qsl_rng_seed,
        "test05_sample_index_rng_seed": ours.test05_sample_index_rng_seed,
        "test05_schedule_rng_seed": ours.test05_schedule_rng_seed,
    }


def queries_of(plans: list[SeriesPlan]) -> list[list[int]]:
    return [
        query
        for plan in plans
        for query in plan.samples.reshape(-1, plan.samples_per_query).tolist()
    ]


def ids_and_samples(plans: list[SeriesPlan]) -> list[list[int]]:
    """[sequence id, sample index] of every planned sample, in order."""
    return [
        [plan.spec.first_sequence_id + place, sample]
        for plan in plans
        for place, sample in enumerate(plan.samples.tolist())
    ]


def compare_plans(
    judge: OfficialLoadGen, ours: Settings, total: int, performance: int, *, trace: bool = False
) -> None:
    """Every derived value of one drawing; with ``trace`` every due time of a server run too."""
    loaded = ours.performance_sample_count or performance
    # The official LoadGen reads past the end of a last set that is too small.
    last_set = min(ours.accuracy_sample_count or total, total) % loaded or loaded
    accuracy = "accuracy" in ours.series_kinds
    assume(not accuracy or ours.performance_issue_same_index < min(last_set, loaded, total))
    # One offline query of more unique samples than exist: the official LoadGen plans no query.
    assume(not (ours.scenario == "offline" and ours.performance_issue_unique and loaded > total))
    official = judge.run(official_settings(ours), total, performance, trace=trace)
    counts = SampleCounts(total, performance)
    specs = series_specs(ours, counts)
    plans = [plan_series(ours, counts, spec) for spec in specs]

    assert [spec.loaded.tolist() for spec in specs] == official["loaded_qsl_set"]
    assert [p.generated_query_count for p in plans] == official["generated_query_count"]
    assert [p.generated_duration_ns for p in plans] == official["generated_query_duration"]
    assert [p.samples_per_query for p in plans] == official["generated_samples_per_query"]
    assert_effective_settings_agree(plans[0], official["effective"])
    planned, issued = queries_of(plans), official["issued"]
    logged = sorted(official["accuracy_log"])
    if ours.scenario in ("single_stream", "multi_stream") and ours.series_kinds != ("accuracy",):
        # A closed loop ends at its minima, which depends on the machine's speed.
        assert issued == planned[: len(issued)]
        assert logged == ids_and_samples(plans)[: len(logged)]
        assert len(logged) == sum(map(len, issued))
    else:
        assert issued == planned
        assert logged == ids_and_samples(plans)
    if trace and ours.scenario == "server" and len(plans) == 1:
        due = plans[0].scheduled_ns
        assert (due - due[:1]).tolist() == official["due_ns"]


def assert_effective_settings_agree(plan: SeriesPlan, official: dict[str, Any]) -> None:
    effective = plan.effective
    assert effective.min_query_count == official["min_query_count"]
    assert effective.min_sample_count == official["min_sample_count"]
    # The official log prints six digits.
    assert effective.target_qps == pytest.approx(official["target_qps"], rel=1e-5)
