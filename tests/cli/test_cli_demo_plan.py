"""The demonstration fits the machine: its runs are short, and long enough for their verdicts."""

from __future__ import annotations

import pytest

from loadgen_service.cli.verbs.demo import first_step, later_steps, second_step
from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.stats.early_stopping import min_total_count

COUNTS = SampleCounts(total=20, performance=20)
SECONDS_MAX = 150.0


def steps(latency_ms: float):
    address = "127.0.0.1:1"
    return [
        first_step(address),
        second_step(address, latency_ms),
        *later_steps(address, latency_ms),
    ]


@pytest.mark.parametrize("latency_ms", [2.0, 10.0, 25.0])
def test_all_five_scenarios_and_accuracy_are_planned(latency_ms):
    made = steps(latency_ms)
    assert [s.settings.mode for s in made] == ["accuracy"] + ["performance"] * 5
    assert {s.settings.scenario for s in made[1:]} == {
        *("single_stream", "multi_stream", "server", "offline", "burst")
    }


@pytest.mark.parametrize("latency_ms", [2.0, 10.0, 25.0])
def test_open_loops_are_long_enough_for_early_stopping_with_one_late(latency_ms):
    for step in steps(latency_ms):
        if step.settings.scenario in ("server", "burst"):
            spec = series_specs(step.settings, COUNTS)[0]
            count = plan_series(step.settings, COUNTS, spec).query_count
            if step.settings.scenario == "burst":
                count //= step.settings.burst_query_count
            assert count >= min_total_count(1, step.settings.percentile)


@pytest.mark.parametrize("latency_ms", [5.0, 10.0, 25.0])
def test_the_demonstration_is_short(latency_ms):
    # a closed loop ends at its minima; offline takes its samples one by one at worst
    total_ms = sum(s.settings.min_duration_ms for s in steps(latency_ms)[1:])
    total_ms += 20 * latency_ms
    assert total_ms / 1000 < SECONDS_MAX
