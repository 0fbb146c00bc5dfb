"""The network halves of requests: they add up, and the truth lies within their error bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from series_builder import MS, Series, server

from loadgen_service.core.facts.run import ClockFacts, SeriesFacts
from loadgen_service.core.figures.times import ClockLine, request_hops
from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.records.request_table import RequestTable

SUT_AHEAD_NS = 37 * 10**12
START_CLOCK_NS = 5 * 10**15


def measured(at_ns: int, there_ns: int, back_ns: int, drift: float = 0.0) -> ClockFacts:
    """One exchange by the rule of the worker: half the round trip is the error."""
    true = SUT_AHEAD_NS + round(at_ns * drift)
    return ClockFacts(0, 0, at_ns, true + (there_ns - back_ns) // 2, (there_ns + back_ns + 1) // 2)


def stamped(there_ns: int, back_ns: int, drift: float = 0.0) -> Series:
    """A server run whose SUT stamps its answers with its own, drifting clock."""
    made = server()
    issued = made.records["issued_ns"]
    completed = issued + there_ns + 3 * MS + back_ns
    made.records["completed_ns"] = completed

    def on_sut(instant: np.ndarray) -> np.ndarray:
        return instant + START_CLOCK_NS + SUT_AHEAD_NS + np.rint(instant * drift).astype(np.int64)

    made.records |= {
        "server_received_ns": on_sut(issued + there_ns),
        "server_queue_ns": np.full(len(issued), MS),
        "server_compute_ns": np.full(len(issued), 2 * MS),
        "server_sent_ns": on_sut(completed - back_ns),
    }
    return made


def tabled(made: Series, *clocks: ClockFacts) -> tuple[RequestTable, SeriesFacts]:
    made.facts = replace(made.facts, clocks=clocks)
    made.workers = [replace(worker, start_clock_ns=START_CLOCK_NS) for worker in made.workers]
    return made.table(), made.series_facts


ways = st.integers(min_value=1_000, max_value=200 * MS)


@given(there=ways, back=ways, drift=st.floats(-4e-5, 4e-5))
def test_halves_add_up_and_the_truth_is_within_the_bar(there: int, back: int, drift: float) -> None:
    made = stamped(there, back, drift)
    end = int(made.records["completed_ns"].max())
    table, facts = tabled(
        made, measured(-MS, there, back, drift), measured(end, there, back, drift)
    )
    hops = request_hops(table, facts)
    assert hops is not None
    assert hops.known.all()
    in_sut = table.server["server_sent_ns"] - table.server["server_received_ns"]
    whole = hops.to_sut_ns + in_sut + hops.from_sut_ns
    assert (whole == table.completed_ns - table.issued_ns).all()
    # drift within one request, and a rounding of each stamp
    slack = round(abs(drift) * (there + back + 3 * MS)) + 3
    assert (np.abs(hops.to_sut_ns - there) <= hops.error_ns + slack).all()
    assert (np.abs(hops.from_sut_ns - back) <= hops.error_ns + slack).all()


def test_equal_ways_are_found_exactly() -> None:
    table, facts = tabled(stamped(7 * MS, 7 * MS), measured(-MS, 7 * MS, 7 * MS))
    hops = request_hops(table, facts)
    assert hops is not None
    assert set(hops.to_sut_ns.tolist()) == {7 * MS}


def test_a_drift_is_followed_between_two_measurements_and_paid_for_outside() -> None:
    line = ClockLine.of([measured(10**10, 10, 10, 2e-5), measured(0, 20, 20, 2e-5)])
    instants = np.array([0, 5 * 10**9, 10**10, 2 * 10**10])
    assert line.offset_at(instants).tolist() == [
        SUT_AHEAD_NS, SUT_AHEAD_NS + 100_000, SUT_AHEAD_NS + 200_000, SUT_AHEAD_NS + 200_000
    ]  # fmt: skip
    assert line.error_at(instants).tolist() == [20, 15, 10, 10 + 10**6]


def test_an_offset_of_weeks_keeps_its_nanoseconds() -> None:
    far = 2**53 + 1
    line = ClockLine.of([ClockFacts(0, 0, 0, far, 1), ClockFacts(0, 0, 100, far + 10, 1)])
    assert line.offset_at(np.array([0, 50, 100])).tolist() == [far, far + 5, far + 10]


def test_without_stamps_or_clocks_there_are_no_halves() -> None:
    bare, facts = tabled(server(), measured(0, 1, 1))
    assert request_hops(bare, facts) is None
    table, facts = tabled(stamped(1, 1))
    assert request_hops(table, facts) is None
    table, facts = tabled(stamped(1, 1), replace(measured(0, 1, 1), sut_index=None))
    assert request_hops(table, facts) is None


def test_a_worker_that_never_measured_a_sut_has_no_halves_of_it() -> None:
    table, facts = tabled(stamped(1, 1), replace(measured(0, 1, 1), sut_index=1))
    assert request_hops(table, facts) is None
    table.server["server_received_ns"][3] = NEVER
    own = replace(facts, clocks=(measured(0, 1, 1), replace(measured(0, 1, 1), worker_index=7)))
    hops = request_hops(table, own)
    assert hops is not None
    assert (~hops.known).nonzero()[0].tolist() == [3]


def test_figures_carry_the_halves_and_their_bar() -> None:
    made = stamped(5 * MS, 9 * MS)
    tabled(made, measured(0, 5 * MS, 9 * MS))
    figures = made.figures()
    for times in (figures.times, figures.suts[0].times, figures.workers[0].times):
        assert times.to_sut_ns is not None
        assert times.from_sut_ns is not None
        assert times.network_ns is not None
        assert times.hop_error_ns is not None
        assert times.to_sut_ns.p50 == times.from_sut_ns.p50 == 7 * MS
        assert times.network_ns.p50 == 14 * MS
        assert times.hop_error_ns >= 7 * MS
