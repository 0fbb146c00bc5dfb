"""The live histogram: bounded error, mergeable, small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loadgen_service.core.stats.histogram import RELATIVE_ERROR, Histogram, exact_bounds
from loadgen_service.core.stats.percentiles import quantile_index

VALUES = hnp.arrays(np.int64, st.integers(0, 200), elements=st.integers(0, 2**63 - 1))
QUANTILES = st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0])


def histogram_of(values: np.ndarray) -> Histogram:
    made = Histogram()
    made.record_many(values)
    return made


@given(VALUES, QUANTILES)
def test_a_quantile_is_within_the_stated_error(values: np.ndarray, quantile: float) -> None:
    found = histogram_of(values).value_at_quantile(quantile)
    if len(values) == 0:
        assert found == 0
        return
    exact = int(np.sort(values)[quantile_index(len(values), quantile)])
    assert abs(found - exact) <= exact * RELATIVE_ERROR


@given(VALUES, st.integers(0, 200))
def test_any_split_merged_equals_the_whole(values: np.ndarray, cut: int) -> None:
    merged = histogram_of(values[:cut])
    merged.merge(histogram_of(values[cut:]))
    assert merged.to_bytes() == histogram_of(values).to_bytes()
    assert merged.total == sum(int(v) for v in values)


@given(VALUES)
def test_bytes_come_back_as_the_same_histogram(values: np.ndarray) -> None:
    sent = histogram_of(values)
    back = Histogram.from_bytes(sent.to_bytes())
    assert back.to_bytes() == sent.to_bytes()
    assert (back.count, back.min, back.max, back.total) == (
        sent.count,
        sent.min,
        sent.max,
        sent.total,
    )


def test_small_values_are_exact() -> None:
    values = np.arange(256)
    made = histogram_of(values)
    assert [made.value_at_quantile(v / 256) for v in range(256)] == values.tolist()
    assert made.values_at_quantiles([v / 256 for v in range(256)]) == values.tolist()
    assert Histogram().values_at_quantiles((0.5, 0.99)) == [0, 0]


def test_negative_values_count_as_zero_and_are_told() -> None:
    made = histogram_of(np.array([-5, 7]))
    assert (made.clamped, made.min, made.max, made.count) == (1, 0, 7, 2)


def test_mean_is_exact() -> None:
    assert histogram_of(np.array([10**9, 10**9 + 2])).mean() == 10**9 + 1
    assert Histogram().mean() == 0.0


def test_cumulative_counts_serve_prometheus_bounds() -> None:
    made = histogram_of(np.array([5, 50, 50, 500]))
    assert made.cumulative_counts([-1, 4, 5, 60, 1000]) == [0, 0, 1, 3, 4]


@pytest.mark.parametrize("data", [b"", b"LLH0" + b"\0" * 90])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="histogram"):
        Histogram.from_bytes(data)


def test_bytes_cut_short_are_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        Histogram.from_bytes(histogram_of(np.array([1, 2])).to_bytes()[:-1])


@given(VALUES)
def test_counts_under_exact_bounds_are_exact(values: np.ndarray) -> None:
    bounds = exact_bounds(7, 62, 4)
    exact = [int((values <= bound).sum()) for bound in bounds]
    assert histogram_of(values).cumulative_counts(bounds) == exact


@given(VALUES, st.integers(0, 200), QUANTILES)
def test_what_came_since_a_copy_has_its_quantiles(
    values: np.ndarray, cut: int, quantile: float
) -> None:
    whole = histogram_of(values[:cut])
    earlier = whole.copy()
    whole.record_many(values[cut:])
    since, later = whole.since(earlier), values[cut:]
    assert since.count == len(later)
    assert since.total == sum(int(v) for v in later)
    if len(later):
        exact = int(np.sort(later)[quantile_index(len(later), quantile)])
        assert abs(since.value_at_quantile(quantile) - exact) <= 2 * exact * RELATIVE_ERROR


def test_since_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="older copy"):
        histogram_of(np.array([1])).since(histogram_of(np.array([2])))
