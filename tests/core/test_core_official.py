"""The plan against the official LoadGen itself, over drawn settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_loadgen import OfficialLoadGen
from official_plans import (
    OFFICIAL_SCENARIO,
    compare_plans,
    drawn_settings,
    official_settings,
    queries_of,
)

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.scenarios import ScenarioName
from loadgen_service.core.settings import Settings


@pytest.fixture(scope="module")
def judge() -> Iterator[OfficialLoadGen]:
    official = OfficialLoadGen()
    yield official
    official.close()


@pytest.mark.parametrize("scenario", sorted(OFFICIAL_SCENARIO))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), total=st.integers(4, 70), performance=st.integers(4, 40))
def test_plan_is_the_official_one(
    judge: OfficialLoadGen,
    scenario: ScenarioName,
    data: st.DataObject,
    total: int,
    performance: int,
) -> None:
    compare_plans(judge, data.draw(drawn_settings(scenario)), total, performance)


def test_schedule_of_a_large_set_is_the_official_one(judge: OfficialLoadGen) -> None:
    ours = Settings(
        target_qps=50_000, min_duration_ms=30, min_query_count=70_001, qsl_rng_seed=3,
        sample_index_rng_seed=2**33 + 5, schedule_rng_seed=7, max_query_count=2_000,
    )  # fmt: skip
    counts = SampleCounts(200_000, 70_000)
    official = judge.run(official_settings(ours), counts.total, counts.performance)
    plan = plan_series(ours, counts, series_specs(ours, counts)[0])
    assert [plan.generated_query_count] == official["generated_query_count"]
    assert [plan.generated_duration_ns] == official["generated_query_duration"]
    assert queries_of([plan]) == official["issued"]
