"""Processor time that others took: read from the kernel's texts, as shares of the time between."""

from __future__ import annotations

import pytest

from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.worker.host.process_stats import (
    TICK_NS,
    CpuContention,
    read_cpu_contention,
    report_between,
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
    assert report_between(before, after) == WorkerReport(stolen_share=0.1, waited_share=0.01)
    silent = CpuContention(2_000, None, None)
    assert report_between(before, silent) == WorkerReport()
    assert report_between(before, before) == WorkerReport(stolen_share=0, waited_share=0)


def test_this_system_is_read():
    first = read_cpu_contention()
    last = read_cpu_contention()
    assert last.at_ns >= first.at_ns
    report = report_between(first, last)
    for one in report.stolen_share, report.waited_share:
        assert one is None or one >= 0
