"""Due times: rates, dispersion and ends of every arrival process."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from loadgen_service.core.plan.arrivals import (
    TRACE_TIMES_MAX,
    parse_trace,
    trace_from_bytes,
    trace_to_bytes,
)
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, plan_series, series_specs
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError

COUNTS = SampleCounts(total=100, performance=24)
NS_PER_S = 1_000_000_000
SEEDS = (1, 2, 3)


def planned(trace_ns: list[int] | None = None, series: int = 0, **fields: Any) -> SeriesPlan:
    ours = Settings(**({"scenario": "server", "min_query_count": 1} | fields))
    spec = series_specs(ours, COUNTS)[series]
    trace = None if trace_ns is None else np.array(trace_ns, dtype=np.int64)
    return plan_series(ours, COUNTS, spec, trace)


def variation(gaps: np.ndarray) -> float:
    """Coefficient of variation."""
    return float(gaps.std() / gaps.mean())


def dispersion(times: np.ndarray, window_ns: int) -> float:
    """Variance over mean of the counts in windows: 1 for a Poisson process."""
    counts = np.bincount(times // window_ns)[:-1]
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("seed", SEEDS)
def test_poisson_arrivals_are_poisson(seed: int) -> None:
    times = planned(target_qps=5_000, min_duration_ms=20_000, schedule_rng_seed=seed).scheduled_ns
    gaps = np.diff(times)
    # 100,000 gaps: four standard errors of mean, deviation and dispersion.
    assert gaps.mean() == pytest.approx(NS_PER_S / 5_000, rel=4 / np.sqrt(len(gaps)))
    assert variation(gaps) == pytest.approx(1, abs=0.02)
    assert dispersion(times, 20_000_000) == pytest.approx(1, abs=0.2)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02


def test_same_seed_at_another_rate_scales_the_schedule() -> None:
    slow = planned(target_qps=100, min_query_count=500, min_duration_ms=0).scheduled_ns
    fast = planned(target_qps=1000, min_query_count=500, min_duration_ms=0).scheduled_ns
    assert np.abs(slow - 10 * fast).max() <= 10 * 500  # truncation of each gap


@pytest.mark.parametrize("burstiness", [0.05, 0.25, 0.7, 1.5, 4.0, 50.0])
def test_gamma_arrivals_have_the_mean_and_variation_asked_for(burstiness: float) -> None:
    plan = planned(arrivals="gamma", burstiness=burstiness, target_qps=1000, min_query_count=60_000)
    gaps = np.diff(plan.scheduled_ns)
    expected = 1 / np.sqrt(burstiness)
    assert gaps.mean() == pytest.approx(1_000_000, rel=5 * expected / np.sqrt(len(gaps)))
    assert variation(gaps) == pytest.approx(expected, rel=0.05)


def test_gamma_arrivals_follow_the_gamma_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    for burstiness in (0.5, 3.0):
        plan = planned(
            arrivals="gamma", burstiness=burstiness, target_qps=1000, min_query_count=20_000
        )
        law = stats.gamma(burstiness, scale=1e6 / burstiness)
        assert stats.kstest(np.diff(plan.scheduled_ns), law.cdf).pvalue > 1e-4


def test_gamma_of_burstiness_one_is_poisson_itself() -> None:
    gamma = planned(arrivals="gamma", burstiness=1.0, target_qps=1000)
    poisson = planned(target_qps=1000)
    assert (gamma.scheduled_ns == poisson.scheduled_ns).all()


def test_constant_arrivals_do_not_drift() -> None:
    times = planned(arrivals="constant", target_qps=3, min_query_count=3_000_001).scheduled_ns
    assert times[:4].tolist() == [0, 333_333_333, 666_666_666, 1_000_000_000]
    assert times[3_000_000] == 1_000_000 * NS_PER_S


def counts_between(plan: SeriesPlan, *edges_s: float) -> list[int]:
    return np.histogram(plan.scheduled_ns, np.array(edges_s) * NS_PER_S)[0].tolist()


def test_ramp_arrivals_follow_the_rate() -> None:
    plan = planned(arrivals="ramp", target_qps=100, ramp_to_qps=3100, min_duration_ms=30_000)
    # Rate 100 + 100 t: integrals over thirds of the 30 s.
    thirds = counts_between(plan, 0, 10, 20, 30)
    expected = [6_000, 16_000, 26_000]
    assert thirds == pytest.approx(expected, rel=0.06)
    assert plan.scheduled_ns[-1] >= 30 * NS_PER_S


def test_falling_ramp_goes_on_at_its_last_rate() -> None:
    plan = planned(
        arrivals="ramp", target_qps=2000, ramp_to_qps=100, min_duration_ms=10_000,
        min_query_count=13_000,
    )  # fmt: skip
    first, last = counts_between(plan, 0, 5, 10)
    assert (first, last) == pytest.approx((7_625, 2_875), rel=0.06)
    tail = plan.scheduled_ns[plan.scheduled_ns >= 10 * NS_PER_S]
    assert np.diff(tail).mean() == pytest.approx(NS_PER_S / 100, rel=0.1)


def test_steps_hold_each_rate_and_pause_at_zero() -> None:
    plan = planned(arrivals="steps", steps="1000:5000,0:2000,3000:5000", min_duration_ms=0)
    held, paused, last = counts_between(plan, 0, 5, 7, 12)
    assert (held, last) == pytest.approx((5_000, 15_000), rel=0.06)
    assert paused == 0


def test_steps_cover_their_whole_length() -> None:
    plan = planned(arrivals="steps", steps="1000:500,200:500", min_duration_ms=100)
    assert plan.scheduled_ns[-1] >= NS_PER_S
    assert plan.scheduled_ns[-2] < NS_PER_S


def test_steps_may_begin_with_a_pause() -> None:
    plan = planned(arrivals="steps", steps="0:500,1000:500", min_duration_ms=100)
    assert plan.scheduled_ns[0] == 500_000_000


def test_trace_is_replayed_as_it_is() -> None:
    plan = planned([5, 5, 70, 900], arrivals="trace", trace_file="t")
    assert plan.scheduled_ns.tolist() == [5, 5, 70, 900]
    assert plan.generated_duration_ns == 900


def test_trace_warm_up_is_its_beginning() -> None:
    trace = [0, 1_000_000, 2_000_000, 50_000_000]
    plan = planned(trace, arrivals="trace", trace_file="t", warmup_duration_ms=3)
    assert (plan.spec.kind, plan.scheduled_ns.tolist()) == ("warmup", trace[:3])


def test_trace_reaches_workers_as_it_is() -> None:
    trace_ns = np.array([0, 1, 2**40], dtype=np.int64)
    content = trace_to_bytes(trace_ns)
    assert content == struct.pack("<3q", 0, 1, 2**40)
    back = trace_from_bytes(content)
    assert back is not None
    assert back.tolist() == trace_ns.tolist()
    assert trace_from_bytes(trace_to_bytes(None)) is None


def test_trace_that_fits_no_message_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"trace_file: holds 8000001 times.*cut the trace"):
        trace_to_bytes(np.zeros(TRACE_TIMES_MAX + 1, dtype=np.int64))


def test_accuracy_needs_a_trace_as_long_as_the_set() -> None:
    with pytest.raises(SettingsError, match=r"trace_file: holds 2 times.*24"):
        planned([0, 1], arrivals="trace", trace_file="t", mode="accuracy")


def test_trace_file_is_times_in_ms() -> None:
    assert parse_trace("# ms\n0\n\n0.5\n 12.000001 \n").tolist() == [0, 500_000, 12_000_001]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "holds no time"),
        ("1\nx\n", "line 2: 'x'"),
        ("1\nnan\n", "line 2: 'nan'"),
        ("-1\n", "line 1: '-1'"),
        ("2\n1\n", "ascend"),
    ],
)
def test_bad_trace_is_refused(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        parse_trace(text)


def test_bursts_are_whole_and_reach_the_minimum_duration() -> None:
    plan = planned(
        scenario="burst", burst_query_count=7, burst_period_ms=250, min_duration_ms=1000,
        min_query_count=3,
    )  # fmt: skip
    assert plan.scheduled_ns.tolist() == [i * 250_000_000 for i in range(5) for _ in range(7)]
    assert plan.generated_duration_ns == 1_250_000_000


def test_bursts_are_whole_where_the_count_decides() -> None:
    plan = planned(
        scenario="burst", burst_query_count=4, burst_period_ms=1, min_duration_ms=1,
        min_query_count=9,
    )  # fmt: skip
    assert plan.query_count == 12


@pytest.mark.parametrize("period_ms", [0.3, 1 / 3, 7.7, 1000])
def test_last_burst_is_the_first_that_reaches_the_minimum(period_ms: float) -> None:
    plan = planned(
        scenario="burst", burst_query_count=1, burst_period_ms=period_ms, min_duration_ms=100
    )
    assert plan.scheduled_ns[-1] >= 100_000_000
    assert plan.query_count == 1 or plan.scheduled_ns[-2] < 100_000_000


def test_warm_up_has_the_same_arrivals_and_its_own_end() -> None:
    fields = {"target_qps": 1000.0, "warmup_duration_ms": 200, "min_duration_ms": 2000}
    warmup, measured = planned(**fields, series=0), planned(**fields, series=1)
    count = warmup.query_count
    assert (warmup.spec.kind, measured.spec.kind) == ("warmup", "performance")
    assert (warmup.scheduled_ns == measured.scheduled_ns[:count]).all()
    assert warmup.scheduled_ns[-1] >= 200_000_000 > warmup.scheduled_ns[-2]
