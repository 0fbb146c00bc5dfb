"""Which responses a performance run logs: LoadGen's golden vector and the official package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_logs import run_official

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.settings import Settings
from loadgen_service.mlperf.logs.accuracy_log import logged_samples, sampling_probability

GOLDEN = Path(__file__).parent.parent / "core" / "golden_vectors.json"
SEED = 720381539243781796


def logged(settings: Settings, counts: SampleCounts) -> list[int]:
    found: list[int] = []
    for spec in series_specs(settings, counts):
        plan = plan_series(settings, counts, spec)
        places = np.flatnonzero(logged_samples(settings, counts, plan))
        found += (spec.first_sequence_id + places).tolist()
    return found


def test_logged_samples_are_the_golden_ones() -> None:
    golden = json.loads(GOLDEN.read_text())["vectors"]["server_accuracy_sampling"]
    settings = Settings(
        scenario="server", target_qps=900, min_duration_ms=500, min_query_count=100,
        accuracy_log_rng_seed=SEED, accuracy_log_sampling_target=50,
    )  # fmt: skip
    counts = SampleCounts(golden["qsl_total"], golden["qsl_performance"])
    assert logged(settings, counts) == golden["accuracy_logged_seq_ids"]


OFFICIAL: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"scenario": "Server", "server_target_qps": 4000}, {"scenario": "server", "target_qps": 4000}),
    (
        {"scenario": "Offline", "offline_expected_qps": 2000},
        {"scenario": "offline", "target_qps": 2000},
    ),
    (
        {"scenario": "Server", "mode": "SubmissionRun", "server_target_qps": 4000},
        {"scenario": "server", "mode": "submission", "target_qps": 4000},
    ),
]


@pytest.mark.parametrize(("official", "ours"), OFFICIAL)
@pytest.mark.parametrize("choice", [{"probability": 0.2}, {"sampling_target": 30}])
def test_logged_samples_are_the_official_ones(
    official: dict[str, Any], ours: dict[str, Any], choice: dict[str, Any], tmp_path: Path
) -> None:
    same = {"min_duration_ms": 60, "min_query_count": 120, "accuracy_log_rng_seed": SEED} | {
        f"accuracy_log_{name}": value for name, value in choice.items()
    }
    run_official(
        tmp_path,
        settings={"mode": "PerformanceOnly", **official, **same},
        total=100,
        performance=32,
        delay_ns=[0],
    )
    entries = json.loads((tmp_path / "mlperf_log_accuracy.json").read_text())
    theirs = sorted(entry["seq_id"] for entry in entries)
    found = logged(Settings(**ours, **same), SampleCounts(100, 32))
    # LoadGen's Server plans more than it issues, the more so on a busy machine: a late run
    # reaches its duration before the plan's tail. Nothing else may be missing.
    unissued = sorted(set(found) - set(theirs))
    assert set(theirs) <= set(found)
    assert not unissued or unissued[0] >= same["min_query_count"]
    first = found.index(unissued[0]) if unissued else 0
    assert found[first : first + len(unissued)] == unissued


def test_a_probability_above_one_logs_all_and_none_logs_nothing() -> None:
    fields: dict[str, Any] = {"scenario": "server", "target_qps": 1000, "min_duration_ms": 100}
    counts = SampleCounts(64, 64)
    assert logged(Settings(**fields), counts) == []
    everything = Settings(**fields, accuracy_log_sampling_target=10**6)
    assert sampling_probability(everything, counts) > 1
    assert len(logged(everything, counts)) >= 100
