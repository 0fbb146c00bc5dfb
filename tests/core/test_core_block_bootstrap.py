"""Intervals hold the truth as often as they claim, also where disturbances last for a while."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loadgen_service.core.plan.mt19937 import RandomWords
from loadgen_service.core.stats.bootstrap import (
    DRAW_COUNT,
    SEED,
    SLICE_COUNT,
    block_weights,
    difference,
)
from loadgen_service.core.stats.latency_heatmap import LatencyGrid

SECOND = 1_000_000_000
LENGTH_S = 30
QUERIES = 9_000
SIGMA = 0.1
PAIRS = 20


@pytest.fixture(scope="module")
def weights():
    return block_weights(SEED), block_weights(SEED + 1)


def normals(words: RandomWords, count: int) -> np.ndarray:
    radius = np.sqrt(-2 * np.log(1 - words.canonical_many(count)))
    return radius * np.cos(2 * math.pi * words.canonical_many(count))


def run(seed: int, scale: float = 1.0, disturbed: float = 0.0) -> LatencyGrid:
    """Lognormal latencies around 20 ms; for a share of its half seconds up to 5 ms more."""
    words = RandomWords(seed)
    due = (words.canonical_many(QUERIES) * LENGTH_S * SECOND).astype(np.int64)
    latency = 20e6 * scale * np.exp(SIGMA * normals(words, QUERIES))
    bad = words.canonical_many(2 * LENGTH_S) < disturbed
    latency += np.where(bad[due * 2 // SECOND], 5e6 * words.canonical_many(QUERIES), 0)
    grid = LatencyGrid(LENGTH_S * SECOND, SLICE_COUNT)
    grid.add(due, latency.astype(np.int64))
    return grid


def words_of(weights, scale: float, disturbed: float = 0.0) -> list[str]:
    found = []
    for pair in range(PAIRS):
        first, second = run(1000 + pair, 1.0, disturbed), run(2000 + pair, scale, disturbed)
        between = difference(
            first.weighted_quantiles(weights[0], 0.99), second.weighted_quantiles(weights[1], 0.99)
        )
        assert between is not None
        assert between.low < between.relative < between.high
        found.append(between.word(more_is_better=False))
    return found


def test_identical_systems_are_called_different_at_most_twice_in_twenty(weights):
    assert words_of(weights, 1.0).count("not distinguishable") >= PAIRS - 2


def test_identical_systems_with_lasting_disturbances_too(weights):
    assert words_of(weights, 1.0, disturbed=0.1).count("not distinguishable") >= PAIRS - 2


def test_three_percent_at_p99_is_found_fifteen_times_in_twenty(weights):
    words = words_of(weights, 1.03)
    assert words.count("slower") >= 15
    assert "faster" not in words


def test_every_draw_has_as_many_slices_as_the_run(weights):
    assert weights[0].shape == (DRAW_COUNT + 1, SLICE_COUNT)
    assert (weights[0].sum(axis=1) == SLICE_COUNT).all()
    assert (weights[0][0] == 1).all()
    # circular blocks: no slice is drawn less often for standing at an edge
    assert weights[0].mean(axis=0).std() < 0.1


def test_draws_depend_on_the_seed_alone(weights):
    assert (block_weights(SEED) == weights[0]).all()
    assert (weights[0] != weights[1]).any()


def test_no_interval_where_a_figure_is_infinite():
    ones = np.ones(100)
    assert difference(ones, np.r_[np.inf, np.ones(99)]) is None
    assert difference(ones, np.r_[1.0, np.full(99, np.inf)]) is None
    assert difference(np.zeros(100), ones) is None


def test_the_word_follows_what_is_better():
    first = np.full(101, 10.0)
    second = np.r_[11.0, np.linspace(10.8, 11.2, 100)]
    between = difference(first, second)
    assert between is not None
    assert between.word(more_is_better=True) == "faster"
    assert between.word(more_is_better=False) == "slower"
