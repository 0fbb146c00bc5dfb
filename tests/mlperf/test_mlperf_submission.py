"""A submission run's series against logs that the official LoadGen wrote (sample_runs.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen_service.core.plan.plan import SampleCounts, plan_hash, plan_series, series_specs
from loadgen_service.core.settings import Settings

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "sample_runs.json").read_text())
OURS = {
    "SingleStream": "single_stream",
    "MultiStream": "multi_stream",
    "Server": "server",
    "Offline": "offline",
}
NS_PER_MS = 1_000_000


def settings_of(requested: dict[str, Any]) -> Settings:
    """The settings that the sample's log says were asked for, under our names."""
    scenario = OURS[requested["scenario"]]
    expected_ns = requested.get(f"{scenario}_expected_latency_ns", NS_PER_MS)
    rate = requested.get("server_target_qps", requested.get("offline_expected_qps", 1))
    return Settings.model_validate(
        {
            "scenario": scenario,
            "mode": "submission",
            "target_qps": rate,
            "expected_latency_ms": expected_ns / NS_PER_MS,
            "samples_per_query": requested.get("multi_stream_samples_per_query", 8),
            "min_duration_ms": requested["min_duration_ms"],
            "min_query_count": requested["min_query_count"],
            "qsl_rng_seed": requested["qsl_rng_seed"],
            "sample_index_rng_seed": requested["sample_index_rng_seed"],
            "schedule_rng_seed": requested["schedule_rng_seed"],
        }
    )


@pytest.mark.parametrize("scenario", OURS)
def test_series_are_those_of_the_official_log(scenario: str) -> None:
    sample = SAMPLES[scenario]
    settings = settings_of(sample["requested"])
    counts = SampleCounts(sample["accuracy_sample_count"], sample["performance_sample_count"])
    specs = series_specs(settings, counts)
    plans = [plan_series(settings, counts, spec) for spec in specs]
    assert [spec.kind for spec in specs] == ["accuracy"] * 4 + ["performance"]
    assert [spec.loaded.tolist() for spec in specs] == sample["loaded_qsl_set"]
    assert [plan.generated_query_count for plan in plans] == sample["generated_query_count"]
    assert [plan.samples_per_query for plan in plans] == sample["generated_samples_per_query"]
    assert [plan.generated_duration_ns for plan in plans] == sample["generated_query_duration"]
    logged = [
        [plan.spec.first_sequence_id + place, index]
        for plan in plans[:-1]
        for place, index in enumerate(plan.samples.tolist())
    ]
    assert logged == sorted(sample["accuracy_log"])
    assert plans[-1].spec.first_sequence_id == len(logged)


def test_submission_has_both_and_a_hash_of_both() -> None:
    counts = SampleCounts(20, 8)
    by_mode = {
        mode: Settings(mode=mode, target_qps=100.0, min_duration_ms=100)
        for mode in ("accuracy", "performance", "submission")
    }
    names = {mode: [s.name for s in series_specs(one, counts)] for mode, one in by_mode.items()}
    assert names["accuracy"] == ["accuracy-0", "accuracy-1", "accuracy-2"]
    assert names["submission"] == [*names["accuracy"], "performance"]
    assert len({plan_hash(one, counts) for one in by_mode.values()}) == 3


def test_a_warm_up_takes_no_sequence_ids() -> None:
    settings = Settings(mode="submission", warmup_duration_ms=100, min_duration_ms=100)
    specs = series_specs(settings, SampleCounts(20, 8))
    assert [spec.first_sequence_id for spec in specs] == [0, 0, 8, 16, 20]


def test_test05_is_a_performance_run_with_its_own_seeds() -> None:
    settings = Settings(mode="submission", test05=True)
    assert settings.series_kinds == ("performance",)
    assert settings.seeds.qsl == settings.test05_qsl_rng_seed
