"""The peak search against the official LoadGen's own, and against SUTs of known capacity."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_loadgen import OfficialLoadGen

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.search.peak_search import PeakSearch
from loadgen_service.core.settings import Settings

SAMPLE = json.loads((Path(__file__).parent.parent / "mlperf" / "sample_runs.json").read_text())
BOUNDS = re.compile(r"\[([\d.]+), ([\d.]+)\)")


@pytest.fixture(scope="module")
def judge() -> Iterator[OfficialLoadGen]:
    official = OfficialLoadGen()
    yield official
    official.close()


def lower_bounds(messages: list[str]) -> list[str]:
    """What the lower bound was after each run, as the official log says it."""
    found = []
    for message in messages:
        bounds = BOUNDS.search(message)
        if bounds and "Found boundaries" not in message:
            found.append(bounds.group(1))
        elif "Found peak" in message:
            found.append(message.rsplit(" ", 1)[1])
    return found


def replay(search: PeakSearch, messages: list[str]) -> list[float]:
    """Tell the search what the official log says of each run; the rates that it asked for."""
    rates = []
    for lower in lower_bounds(messages):
        assert search.next_qps is not None
        rates.append(search.next_qps)
        # the run passed if its rate is the lower bound from now on
        search.record(f"{search.next_qps:f}" == lower)
    return rates


def test_rates_are_those_of_the_official_sample_log() -> None:
    sample = SAMPLE["find_peak"]
    search = PeakSearch(100.0, 1.0, 0)
    rates = replay(search, sample["messages"])
    assert search.messages == sample["messages"]
    assert search.next_qps is None
    assert search.peak_qps == 849.21875
    assert rates[:5] == [100.0, 200.0, 400.0, 800.0, 1600.0]
    counts = [planned_count(rate) for rate in rates]
    assert counts == sample["generated_query_count"]


def planned_count(rate: float) -> int:
    ours = Settings(target_qps=rate, min_duration_ms=700, min_query_count=100)
    counts = SampleCounts(32, 32)
    return plan_series(ours, counts, series_specs(ours, counts)[0]).generated_query_count


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    base=st.floats(300, 900),
    step=st.sampled_from([1.0, 0.5, 0.3, 2.5]),
    decimals=st.sampled_from([0, 1]),
    stall_at=st.integers(12, 60),
)
def test_every_step_is_the_official_one(
    judge: OfficialLoadGen, base: float, step: float, decimals: int, stall_at: int
) -> None:
    official = judge.run(
        {
            "scenario": "Server",
            "mode": "FindPeakPerformance",
            "server_target_qps": base,
            "server_target_latency_ns": 12_000_000,
            "server_find_peak_qps_boundary_step_size": step,
            "server_find_peak_qps_decimals_of_precision": decimals,
            "min_duration_ms": 15,
            "min_query_count": 1,
        },
        total=20,
        performance=20,
        stall_at=stall_at,
    )
    search = PeakSearch(base, step, decimals)
    if any("Initial lower bound" in error for error in official["errors"]):
        search.record(False)  # the stall comes within the base run already
        assert search.messages == official["messages"]
        return
    replay(search, official["messages"])
    assert search.messages == official["messages"]
    assert (search.next_qps, search.ended_by) == (None, "precision")
    assert len(official["generated_query_count"]) == search.run_count


@given(
    base=st.floats(1, 1e3),
    above=st.floats(1, 1e3),
    step=st.floats(0.05, 4),
    decimals=st.integers(0, 3),
)
def test_it_finds_the_capacity_of_a_sut_to_its_precision(
    base: float, above: float, step: float, decimals: int
) -> None:
    capacity = base * above
    search = PeakSearch(base, step, decimals)
    while search.next_qps is not None:
        search.record(search.next_qps <= capacity)
    assert search.ended_by == "precision"
    assert search.peak_qps is not None
    assert search.peak_qps <= capacity < search.peak_qps + 2 * 10.0**-decimals + 1e-6


def test_a_base_rate_that_fails_ends_the_search() -> None:
    search = PeakSearch(100.0, 1.0, 1)
    search.record(False)
    assert (search.next_qps, search.peak_qps, search.peak_run) == (None, None, None)
    assert search.ended_by == "base_failed"
    with pytest.raises(ValueError, match="over"):
        search.record(True)


def test_a_sut_that_never_fails_ends_the_search_at_the_ceiling() -> None:
    search = PeakSearch(100.0, 1.0, 1, ceiling_qps=1000.0)
    while search.next_qps is not None:
        search.record(True)
    assert (search.peak_qps, search.peak_run, search.ended_by) == (800.0, 3, "ceiling")


def test_the_best_run_is_remembered() -> None:
    search = PeakSearch.of(Settings(target_qps=100.0, find_peak_decimals_of_precision=0))
    for passed in (True, True, False, True, False):
        search.record(passed)
    assert (search.peak_qps, search.peak_run, search.next_qps) == (300.0, 3, 325.0)
    search.abandon()
    assert (search.next_qps, search.peak_qps, search.ended_by) == (None, 300.0, "failed_run")
