"""A grid of latencies reads the same quantiles as the values, for any way of adding them."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen_service.core.plan.mt19937 import RandomWords
from loadgen_service.core.stats.latency_heatmap import COARSE, FINE, TAIL_VALUES, LatencyGrid
from loadgen_service.core.stats.percentiles import Distribution

SECOND = 1_000_000_000


def values(count: int, seed: int = 7) -> np.ndarray:
    """Latencies from 5 ms up, some a hundred times as long."""
    share = RandomWords(seed).canonical_many(count)
    return (5e6 * (1 - share) ** -0.5).astype(np.int64)


def grid_of(latency: np.ndarray, width: float = FINE, slices: int = 8) -> LatencyGrid:
    grid = LatencyGrid(SECOND, slices, width)
    grid.add(np.linspace(0, SECOND - 1, len(latency)).astype(np.int64), latency)
    return grid


@pytest.mark.parametrize("width", [FINE, COARSE])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 0.999])
def test_a_quantile_is_off_by_less_than_a_bin(width, quantile):
    latency = values(20_000)
    exact = np.sort(latency)[int(len(latency) * quantile)]
    read = grid_of(latency, width).weighted_quantiles(np.ones((1, 8)), quantile)[0]
    assert read == pytest.approx(exact, rel=1.5 * width)


def test_a_weight_of_two_is_the_slice_twice():
    early, late = values(4000, 1), values(4000, 2) * 3
    grid = grid_of(np.r_[early, late], slices=2)
    read = grid.weighted_quantiles(np.array([[2.0, 1.0], [0.0, 1.0]]), 0.9)
    twice = Distribution.of(np.r_[early, early, late])
    once = Distribution.of(late)
    assert twice is not None
    assert once is not None
    assert read == pytest.approx([twice.p90, once.p90], rel=2 * FINE)


def test_the_unanswered_are_above_every_answer():
    grid = grid_of(values(1000))
    grid.add_unanswered(np.arange(20) * 1000)
    found = grid.weighted_quantiles(np.ones((2, 8)), 0.99)
    assert np.isinf(found).all()
    assert np.isfinite(grid.weighted_quantiles(np.ones((1, 8)), 0.9)).all()
    assert grid.count == 1020


def test_the_longest_are_kept_as_measured_and_the_last_has_a_share_of_one():
    latency = values(50_000)
    grid = grid_of(latency, COARSE)
    shown, shares = grid.share_above()
    longest = np.sort(latency)[-TAIL_VALUES:]
    assert shown[-TAIL_VALUES:] == pytest.approx(longest, abs=0)
    assert shares[-1] == pytest.approx(1 / len(latency))
    assert shares[0] == 1.0
    assert (np.diff(shown) >= 0).all()
    assert (np.diff(shares) <= 0).all()
    for value, share in zip(shown[::40], shares[::40], strict=True):
        assert share == pytest.approx(np.mean(latency >= value), rel=0.02)


def test_adding_in_pieces_is_adding_at_once():
    latency = values(3000)
    due = np.linspace(0, SECOND - 1, 3000).astype(np.int64)
    whole, pieces = LatencyGrid(SECOND, 8), LatencyGrid(SECOND, 8)
    whole.add(due, latency)
    for start in range(0, 3000, 700):
        pieces.add(due[start : start + 700], latency[start : start + 700])
    assert (whole.counts == pieces.counts).all()
    assert (whole.tail == pieces.tail).all()
    assert (whole.largest == pieces.largest).all()


def test_merging_slices_keeps_every_count_and_the_largest():
    grid = grid_of(values(3000))
    merged = grid.merged(2)
    assert merged.count == grid.count
    assert merged.largest.tolist() == [grid.largest[:4].max(), grid.largest[4:].max()]
    assert len(merged.slice_quantiles(0.5)) == 2


def test_an_empty_grid_has_no_quantile_and_no_curve():
    grid = LatencyGrid(0, 4)
    assert np.isinf(grid.weighted_quantiles(np.ones((1, 4)), 0.5)).all()
    assert grid.slice_quantiles(0.5) == [None] * 4
    assert len(grid.share_above()[0]) == 0
