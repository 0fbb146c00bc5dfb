"""Early stopping against the specification's tables, recorded answers, and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import binom

from loadgen_service.core.stats.early_stopping import (
    RISK,
    binomial_cdf,
    estimate_index,
    max_overlatency_count,
    min_total_count,
)

QUANTILES = (0.90, 0.95, 0.97, 0.99, 0.999)
# specification 3.5: late ones -> fewest queries, at each of QUANTILES
TOTALS = {
    0: (44, 90, 152, 459, 4603),
    1: (64, 130, 219, 662, 6636),
    2: (81, 165, 277, 838, 8403),
    3: (97, 198, 332, 1001, 10042),
    4: (113, 229, 383, 1157, 11601),
    5: (127, 259, 433, 1307, 13105),
    10: (197, 398, 667, 2010, 20140),
    20: (325, 656, 1097, 3304, 33097),
    50: (681, 1372, 2293, 6898, 69058),
    100: (1246, 2504, 4182, 12571, 125826),
}
ESTIMATES = [
    (64, 0.9, 63),
    (97, 0.9, 94),
    (700, 0.9, 649),
    (1001, 0.9, 923),
    (662, 0.99, 661),
    (2001, 0.99, 1992),
    (24576, 0.9, 22228),
]


@pytest.mark.parametrize("late", TOTALS)
def test_fewest_queries_are_those_of_the_specification(late: int) -> None:
    assert tuple(min_total_count(late, q) for q in QUANTILES) == TOTALS[late]


@pytest.mark.parametrize("quantile", QUANTILES)
def test_none_late_needs_the_closed_form(quantile: float) -> None:
    assert min_total_count(0, quantile) == math.ceil(math.log(0.01) / math.log(quantile))


@pytest.mark.parametrize(("count", "quantile", "index"), ESTIMATES)
def test_estimate_stands_where_loadgen_puts_it(count: int, quantile: float, index: int) -> None:
    assert estimate_index(count, quantile) == index


@pytest.mark.parametrize(("count", "quantile"), [(63, 0.9), (661, 0.99), (0, 0.9), (1, 0.5)])
def test_too_few_queries_have_no_estimate(count: int, quantile: float) -> None:
    assert estimate_index(count, quantile) is None


def test_all_late_names_how_many_more_are_needed() -> None:
    assert min_total_count(249, 0.99) - 249 == 28556


@pytest.mark.parametrize("quantile", [0.0, 1.0, -1.0])
def test_a_quantile_outside_zero_and_one_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        min_total_count(1, quantile)
    with pytest.raises(ValueError, match="quantile"):
        max_overlatency_count(1, quantile)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.sampled_from([0.5, 0.8, *QUANTILES, 0.9999]))
def test_fewest_queries_are_the_first_that_scipys_beta_allows(late: int, quantile: float) -> None:
    total = min_total_count(late, quantile)
    assert betainc(total - late, late + 1, quantile) < RISK
    assert total == late + 1 or betainc(total - late - 1, late + 1, quantile) >= RISK


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**8), st.sampled_from([0.5, *QUANTILES]))
def test_afforded_late_ones_are_scipys_binomial_quantile(count: int, quantile: float) -> None:
    late = max_overlatency_count(count, quantile)
    assert late == -1 or binom.cdf(late, count, 1 - quantile) < RISK * (1 + 1e-9)
    if count > 0:
        assert binom.cdf(late + 1, count, 1 - quantile) >= RISK * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**7), st.floats(0.001, 0.999), st.floats(0.0, 1.0))
def test_binomial_sum_is_scipys(trials: int, chance: float, part: float) -> None:
    spread = 8 * math.sqrt(trials * chance * (1 - chance)) + 3
    successes = min(trials, max(0, int(trials * chance + (2 * part - 1) * spread)))
    ours = binomial_cdf(successes, trials, chance, 1 - chance)
    assert ours == pytest.approx(binom.cdf(successes, trials, chance), rel=1e-8, abs=1e-12)
