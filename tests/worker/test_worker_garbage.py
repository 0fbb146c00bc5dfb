"""The rule for the garbage collector, and that freezing is undone."""

from __future__ import annotations

import gc

import pytest

from loadgen_service.worker.host import gc_control
from loadgen_service.worker.host.gc_control import (
    FORCED_DEBT_COUNT,
    QUIET_DEBT_COUNT,
    QUIET_NS,
    must_collect,
)


@pytest.mark.parametrize(
    ("debt_count", "quiet_ns", "expected"),
    [
        (0, 10**12, False),
        (QUIET_DEBT_COUNT - 1, 10**12, False),
        (QUIET_DEBT_COUNT, QUIET_NS - 1, False),
        (QUIET_DEBT_COUNT, QUIET_NS, True),
        (FORCED_DEBT_COUNT - 1, 0, False),
        (FORCED_DEBT_COUNT, 0, True),
    ],
)
def test_debt_is_paid_in_quiet_moments_or_when_it_is_too_high(
    debt_count: int, quiet_ns: int, expected: bool
) -> None:
    assert must_collect(debt_count, quiet_ns) is expected


def test_the_collector_is_off_in_a_series_and_on_after_it() -> None:
    gc_control.freeze()
    try:
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc_control.thaw()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
