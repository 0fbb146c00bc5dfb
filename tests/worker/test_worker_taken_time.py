"""Processor time that others took: read from the kernel's texts, as shares of the time between."""

from __future__ import annotations

import pytest

from loadgen_service.worker.host.cpu_steal import (
    TICK_NS,
    ContentionShares,
    CpuContention,
    read_cpu_contention,
    shares_between,
    stolen_ns,
    waited_ns,
)

STAT = """cpu  300 1 2 3 4 5 6 70 0 0
cpu0 100 1 2 3 4 5 6 10 0 0
cpu1 100 1 2 3 4 5 6 20 0 0
cpu10 100 1 2 3 4 5 6 40 0 0
intr 12345 0 0
"""


@pytest.mark.parametrize(("cpus", "ticks"), [({0}, 10), ({1}, 20), ({0, 1}, 15), ({0, 10}, 25)])
def test_steal_is_the_mean_of_the_processors_that_we_may_use(cpus, ticks):
    assert stolen_ns(STAT, cpus) == ticks * TICK_NS


@pytest.mark.parametrize("text", ["", "cpu  1 2 3\n", "cpu0 1 2 3 4\n", "\n\n"])
def test_a_system_that_does_not_tell_steal(text):
    assert stolen_ns(text, {0}) is None


@pytest.mark.parametrize(("text", "expected"), [("900 345 7\n", 345), ("", None), ("0", None)])
def test_time_on_the_run_queue(text, expected):
    assert waited_ns(text) == expected


def test_shares_are_of_the_time_between_two_readings():
    before, after = CpuContention(1_000, 50, 200), CpuContention(2_000, 150, 210)
    assert shares_between(before, after) == ContentionShares(stolen=0.1, waited=0.01)
    silent = CpuContention(2_000, None, None)
    assert shares_between(before, silent) == ContentionShares(None, None)
    assert shares_between(before, before) == ContentionShares(0, 0)


def test_this_system_is_read():
    first = read_cpu_contention()
    last = read_cpu_contention()
    assert last.at_ns >= first.at_ns
    for one in shares_between(first, last).stolen, shares_between(first, last).waited:
        assert one is None or one >= 0
