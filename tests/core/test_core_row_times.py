"""Figures of a large table are read in pieces and several times; they are those of all at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from series_builder import Series, closed, fail_rows, server

from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats import percentiles
from loadgen_service.core.stats.percentiles import Distribution, values_at


@pytest.fixture
def in_pieces() -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(percentiles, "PIECE_COUNT", 37)
        monkeypatch.setattr(percentiles, "STREAMED_COUNT", 100)
        monkeypatch.setattr(percentiles, "GATHERED", 5)

    return patch


def spread(series: Series) -> Series:
    """Latencies that differ, and ends of every kind."""
    drawn = np.random.default_rng(7)
    records = series.records
    latency = drawn.lognormal(15, 1, len(records["row"])).astype(np.int64)
    records["completed_ns"] = records["issued_ns"] + latency
    records["first_response_ns"] = records["issued_ns"] + latency // 2
    for at, status in ((3, Status.FAILED), (50, Status.TIMED_OUT), (150, Status.FAILED)):
        fail_rows(records, slice(at, at + 1), status)
    records["issued_ns"][50] = NEVER
    return series


def served(series: Series) -> Series:
    """A SUT that tells its own times, not of every request."""
    records = series.records
    issued, done = records["issued_ns"], records["completed_ns"]
    told = {
        "received": issued + 1000,
        "sent": done - 1000,
        "queue": issued % 977,
        "compute": done % 991,
    }
    for name, column in told.items():
        records[f"server_{name}_ns"] = np.where(records["row"] % 5 == 0, NEVER, column)
    return series


SERIES = {
    "server": lambda: spread(server()),
    "two workers": lambda: spread(server(workers=2)),
    "server timings": lambda: served(spread(server())),
    "several requests a query": lambda: spread(
        closed("multi_stream", 150, samples_per_query=8, samples_per_request=3)
    ),
    "offline": lambda: spread(
        Series(
            Settings(
                scenario="offline", target_qps=2000, min_duration_ms=1000, samples_per_request=4
            )
        )
    ),
    "closed": lambda: spread(closed("single_stream", 400)),
    "concurrency": lambda: spread(Series(Settings(scenario="concurrency", concurrency=8))),
}


@pytest.mark.parametrize("name", SERIES)
def test_pieces_give_the_figures_of_the_whole(
    name: str, in_pieces: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = SERIES[name]().figures()
    assert expected.latency_ns is not None
    assert expected.latency_ns.count > 100
    in_pieces(monkeypatch)
    assert SERIES[name]().figures() == expected


@settings(deadline=None)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 2), min_size=1, max_size=300))
@example(values=[-(2**63), 2**63 - 2, 0, -1, 1, 2**62, 5])
def test_a_distribution_in_pieces_is_that_of_all_values(values: list[int]) -> None:
    array = np.array(values, np.int64)
    expected = Distribution.of(array)
    places = sorted({0, len(values) // 2, len(values) - 1})
    found = values_at(array, places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percentiles, "PIECE_COUNT", 7)
        patch.setattr(percentiles, "STREAMED_COUNT", 0)
        patch.setattr(percentiles, "GATHERED", 3)
        assert Distribution.of(array) == expected
        assert values_at(array, places) == found


def test_many_rows_of_which_none_counts_have_no_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(percentiles, "STREAMED_COUNT", 0)
    assert Distribution.of_rows(10, lambda piece: np.empty(0, np.int64)) is None
