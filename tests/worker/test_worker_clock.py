"""The clock offset lies within its error, however uneven the ways are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.worker.session.controls import ClockSample, estimate_offset

WAY = st.integers(min_value=0, max_value=10**9)


@given(
    st.integers(min_value=-(10**15), max_value=10**15),
    st.lists(st.tuples(WAY, WAY, WAY), min_size=1, max_size=20),
)
def test_the_true_offset_lies_within_the_error(
    offset: int, ways: list[tuple[int, int, int]]
) -> None:
    now = 10**16
    samples = []
    for there, inside, back in ways:
        received = now + there + offset
        returned = now + there + inside + back
        samples.append(ClockSample(now, received, received + inside, returned))
        now = returned + 1
    found = estimate_offset(samples)
    assert abs(found.offset_ns - offset) <= found.error_ns
    assert found.error_ns <= max(1, (min(t + b for t, _, b in ways) + 1) // 2)


def test_even_ways_give_the_exact_offset() -> None:
    found = estimate_offset([ClockSample(100, 1150, 1160, 210)])
    assert (found.offset_ns, found.error_ns, found.measured_at_ns) == (1000, 50, 210)


def test_no_exchange_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="no clock exchange"):
        estimate_offset([])
