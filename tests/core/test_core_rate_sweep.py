"""A sweep measures the rates that answer its two questions, and answers them."""

from __future__ import annotations

import pytest

from loadgen_service.core.search.rate_sweep import (
    ADAPTIVE_POINTS_MAX,
    SweepPoint,
    highest_valid,
    knee,
    next_rate,
    parse_range,
)
from loadgen_service.errors import SettingsError

CAPACITY_QPS = 500.0
LIMIT_NS = 20_000_000


def queue(rate: float) -> SweepPoint:
    """M/M/1 with 2 ms of service: latency 1 / (capacity - rate); beyond, it grows with the run."""
    mean = 1e9 / (CAPACITY_QPS - rate) if rate < CAPACITY_QPS else 5e9 * (rate / CAPACITY_QPS)
    p99 = int(mean * 4.6)
    return SweepPoint(
        rate, min(rate, CAPACITY_QPS), p99 <= LIMIT_NS, int(mean), int(mean * 0.69),
        int(mean * 2.3), p99, int(mean * 6.9), int(mean * 9),
    )  # fmt: skip


def test_a_range_includes_its_last_step():
    assert parse_range("50:200:50") == [50, 100, 150, 200]
    assert parse_range("0.1:0.3:0.1") == [0.1, 0.2, 0.3]
    assert parse_range("5:5:1") == [5]


@pytest.mark.parametrize("text", ["", "50", "50:100", "a:b:c", "100:50:10", "0:9:1", "1:9:0",
                                  "1:1e9:1", "1:inf:1", "nan:2:1"])  # fmt: skip
def test_another_form_is_a_users_mistake(text):
    with pytest.raises(SettingsError, match="target_qps: "):
        parse_range(text)


def adaptive(grid: list[float]) -> dict[float, SweepPoint]:
    done: dict[float, SweepPoint] = {}
    while (rate := next_rate(grid, done)) is not None:
        assert rate in grid
        assert rate not in done
        done[rate] = queue(rate)
    return done


def test_an_adaptive_sweep_finds_the_same_limit_with_fewer_runs():
    grid = parse_range("10:1000:10")
    done = adaptive(grid)
    whole = highest_valid([queue(rate) for rate in grid])
    found = highest_valid(list(done.values()))
    assert whole
    assert found
    assert found.target_qps == whole.target_qps == 270
    assert len(done) <= ADAPTIVE_POINTS_MAX


def test_an_adaptive_sweep_of_valid_rates_measures_the_steep_parts_only():
    done = adaptive(parse_range("10:100:10"))
    assert set(done) == {10, 100}


def test_the_knee_of_a_queue_is_at_half_its_capacity():
    bend = knee([queue(rate) for rate in parse_range("50:1000:50")])
    assert bend
    assert bend.target_qps == 250


def test_a_range_that_does_not_hold_the_knee_has_none():
    assert knee([queue(rate) for rate in (20, 40, 60)]) is None
    assert knee([queue(rate) for rate in (300, 400, 490)]) is None
    assert knee([queue(100), queue(250)]) is None
    assert highest_valid([queue(900)]) is None
