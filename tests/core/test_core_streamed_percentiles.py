"""Percentiles read in passes are those of all values at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.core.stats import percentiles
from loadgen_service.core.stats.percentiles import Chunks, extent_of, quantile_index, ranked_values

QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)


def found(chunks: Chunks) -> list[int]:
    extent = extent_of(chunks)
    return ranked_values(chunks, extent, [quantile_index(extent.count, q) for q in QUANTILES])


def expected(values: np.ndarray) -> list[int]:
    ordered = np.sort(values)
    return [int(ordered[quantile_index(len(values), q)]) for q in QUANTILES]


@given(
    values=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=200),
    size=st.integers(1, 50),
    gathered=st.sampled_from([1, 3, 1 << 20]),
)
def test_they_are_the_sorted_values_whatever_the_chunks(
    values: list[int], size: int, gathered: int
) -> None:
    array = np.array(values, np.int64)
    chunks = [array[i : i + size] for i in range(0, len(array), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percentiles, "GATHERED", gathered)
        assert found(lambda: chunks) == expected(array)


@pytest.mark.parametrize("name", ["lognormal", "constant", "two values"])
def test_many_values_with_ties(name: str) -> None:
    draws = np.random.default_rng(1)
    values = {
        "lognormal": (draws.lognormal(15, 1, 300_000)).astype(np.int64),
        "constant": np.full(300_000, 7, np.int64),
        "two values": draws.choice(np.array([5, 10**12]), 300_000),
    }[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percentiles, "GATHERED", 1000)
        assert found(lambda: np.array_split(values, 7)) == expected(values)


def test_no_values_are_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        ranked_values(list, extent_of(list), (0,))
