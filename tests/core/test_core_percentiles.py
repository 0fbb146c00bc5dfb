"""LoadGen's percentile and mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loadgen_service.core.stats.percentiles import (
    Distribution,
    quantile_index,
    truncated_mean,
    values_at,
)

LATENCIES = hnp.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 2**62))


@pytest.mark.parametrize(
    ("count", "quantile", "index"),
    [(100, 0.50, 50), (100, 0.99, 99), (10, 0.90, 9), (1, 0.999, 0), (1000, 0.999, 999)],
)
def test_percentile_stands_at_the_truncated_product(
    count: int, quantile: float, index: int
) -> None:
    assert quantile_index(count, quantile) == index


def test_a_percentile_from_a_settings_file_keeps_its_double() -> None:
    assert quantile_index(1000, 99.9 * 0.01) == int(1000 * 0.9990000000000001)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="count"):
        quantile_index(0, 0.5)
    with pytest.raises(ValueError, match="quantile"):
        quantile_index(1, 1.5)
    assert Distribution.of(np.empty(0, dtype=np.int64)) is None


@given(LATENCIES)
def test_distribution_equals_sorting_and_python_integers(values: np.ndarray) -> None:
    made, ordered = Distribution.of(values), sorted(int(v) for v in values)
    assert made is not None
    assert (made.count, made.min, made.max) == (len(ordered), ordered[0], ordered[-1])
    assert made.mean == sum(ordered) // len(ordered)
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p97", 0.97), ("p99_9", 0.999)):
        assert getattr(made, name) == ordered[int(len(ordered) * quantile)]


def test_the_values_stay_as_they_were() -> None:
    values = np.array([3, 1, 2])
    assert values_at(values, [0, 2, 0]) == [1, 3, 1]
    assert values_at(values, []) == []
    assert values.tolist() == [3, 1, 2]


def test_mean_truncates_towards_zero() -> None:
    assert truncated_mean(np.array([-3, 0])) == -1
    assert truncated_mean(np.array([3, 0])) == 1
