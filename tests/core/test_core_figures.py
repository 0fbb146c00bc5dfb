"""Figures of a series: rates, distributions and breakdowns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from series_builder import MS, Series, closed, fail_rows, records_of, server

from loadgen_service.core.facts.run import SeriesFacts, WorkerFacts
from loadgen_service.core.figures.series import series_figures
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.settings import Settings


def test_issue_delay_is_lateness_and_blocking() -> None:
    times = server().figures().times
    assert times.late_ns is not None
    assert times.blocked_ns is not None
    assert times.issue_delay_ns is not None
    assert (times.late_ns.max, times.blocked_ns.max) == (20_000, 10_000)
    assert times.issue_delay_ns.max == 30_000
    assert times.service_ns is not None
    assert times.service_ns.p50 == 5 * MS - 30_000


def test_server_timings_split_the_service_time() -> None:
    made = server()
    issued = made.records["issued_ns"]
    made.records |= {
        "server_received_ns": issued + 10**12,
        "server_queue_ns": np.full(len(issued), MS),
        "server_compute_ns": np.full(len(issued), 2 * MS),
        "server_sent_ns": issued + 10**12 + 4 * MS,
    }
    times = made.figures().times
    assert times.server_queue_ns is not None
    assert times.server_total_ns is not None
    assert times.network_ns is not None
    assert (times.server_queue_ns.p99, times.server_total_ns.p50) == (MS, 4 * MS)
    assert times.network_ns.max == 5 * MS - 30_000 - 4 * MS


def test_latency_covers_completed_queries_only() -> None:
    made = server()
    fail_rows(made.records, slice(0, 10), Status.FAILED)
    figures = made.figures()
    assert figures.latency_ns is not None
    assert figures.latency_ns.count == figures.queries.completed == figures.queries.planned - 10
    assert figures.queries.failed == figures.samples.failed == 10


def test_a_row_without_a_good_answer_is_infinite_in_the_target_percentile() -> None:
    made = server()
    count = made.plan.request_count
    fail_rows(made.records, slice(0, count - int(count * 0.99)), Status.TIMED_OUT)
    assert made.figures().loadgen.target_percentile_latency_ns is None
    made.records["status"][0] = Status.COMPLETED
    made.records["completed_ns"][0] = made.records["scheduled_ns"][0] + 7 * MS
    assert made.figures().loadgen.target_percentile_latency_ns == 7 * MS


def test_failures_are_over_latency() -> None:
    made = server()
    fail_rows(made.records, slice(0, 3), Status.FAILED)
    fail_rows(made.records, slice(3, 5), Status.TIMED_OUT)
    made.keep(made.records["row"] != 20)
    figures = made.figures()
    assert figures.loadgen.overlatency_count == 6
    assert figures.loadgen.early_stopping is not None
    assert figures.loadgen.early_stopping.overlatency_count == 6


def test_offline_counts_samples_and_its_makespan() -> None:
    settings = Settings(
        scenario="offline", target_qps=100, min_duration_ms=1000, samples_per_request=8
    )
    made = Series(settings)
    count = made.plan.request_count
    made.records = records_of(made.plan, np.arange(count), (np.arange(count) + 1) * 100 * MS)
    figures = made.figures()
    assert figures.latency_unit == "sample"
    assert figures.latency_ns is not None
    assert figures.latency_ns.count == figures.samples.completed == 110
    assert figures.loadgen.samples_per_second == pytest.approx(110 / (count * 0.1))
    assert figures.completed_samples_per_second == pytest.approx(110 / (count * 0.1))
    assert (figures.queries.planned, figures.queries.completed) == (1, 1)


def test_a_concurrency_run_is_measured_up_to_the_first_answer_after_the_stop() -> None:
    made = closed("concurrency", 1000, concurrency=1)
    made.facts = replace(made.facts, stop_ns=500 * MS)
    figures = made.figures()
    assert figures.loadgen.duration_ns == 500 * MS
    assert figures.elapsed_ns == 501 * MS - 30_000
    assert figures.completed_qps == pytest.approx(501 / 0.50097)
    assert figures.outside_window_count == 1000 - 501
    assert figures.latency_ns is not None
    assert figures.latency_ns.count == 501
    assert figures.queries.planned == 1000


@pytest.mark.parametrize("stop_ms", [500, 2_900, 3_100, 5_060])
def test_the_rate_of_long_answers_does_not_depend_on_where_the_stop_cuts_them(stop_ms: int) -> None:
    """8 callers, each answer 3.5 s, each caller begun 100 ms after the one before."""
    made = closed("concurrency", 32, concurrency=8)
    rows = np.arange(32)
    made.records["scheduled_ns"] = rows // 8 * 3_500 * MS + rows % 8 * 100 * MS
    for name in ("released_ns", "issued_ns"):
        made.records[name] = made.records["scheduled_ns"]
    done = made.records["scheduled_ns"] + 3_500 * MS
    made.records["completed_ns"] = made.records["first_response_ns"] = done
    made.facts = replace(made.facts, stop_ns=stop_ms * MS)
    figures = made.figures()
    assert figures.elapsed_ns is not None
    assert figures.elapsed_ns >= stop_ms * MS
    begun = 2_800 / 3_500  # callers that were not there yet, in answers
    true = (8 / 3.5) - begun / (figures.elapsed_ns / 1e9)
    assert figures.completed_qps == pytest.approx(true, rel=1e-3)


def test_a_concurrency_run_without_a_stop_ends_with_its_last_answer() -> None:
    figures = closed("concurrency", 100).figures()
    assert figures.elapsed_ns == 99 * MS + MS - 30_000
    assert figures.outside_window_count == 0


def test_bursts_are_measured_from_instant_to_last_answer() -> None:
    made = Series(Settings(scenario="burst", burst_query_count=4, burst_period_ms=100))
    rows = made.records["row"]
    made.records = records_of(made.plan, rows, (rows % 4 + 1) * MS)
    made.records["issued_ns"] = made.records["scheduled_ns"] + rows % 4 * 1000
    fail_rows(made.records, 2, Status.FAILED)
    bursts = made.figures().bursts
    assert bursts is not None
    assert bursts.burst_count == len(rows) // 4
    assert bursts.unanswered_count == 1
    assert bursts.drain_ns is not None
    assert bursts.smear_ns is not None
    assert (bursts.drain_ns.min, bursts.smear_ns.max) == (4 * MS, 3000)


def test_breakdowns_add_up_to_the_whole() -> None:
    made = server(workers=3, sut=["grpc://a:1", "grpc://b:1"])
    made.records["sut_index"] = made.plan.sut_index
    made.keep(made.records["row"] % 10 != 0)
    figures = made.figures()
    assert [part.index for part in figures.suts] == [0, 1]
    assert [part.index for part in figures.workers] == [0, 1, 2]
    for parts in (figures.suts, figures.workers):
        assert sum(part.requests.planned for part in parts) == figures.requests.planned
        assert sum(part.samples.lost for part in parts) == figures.samples.lost > 0
        rates = [part.completed_samples_per_second or 0 for part in parts]
        assert sum(rates) == pytest.approx(figures.completed_samples_per_second)


def test_nothing_recorded_gives_figures_without_distributions() -> None:
    made = server()
    made.keep(made.records["row"] < 0)
    made.workers = [WorkerFacts(0, issued_count=0)]
    figures = made.figures()
    assert figures.queries.not_issued == figures.queries.planned
    assert figures.latency_ns is None
    assert figures.completed_qps is None
    assert figures.loadgen.duration_ns is None


@pytest.mark.parametrize(
    "scenario", ["single_stream", "multi_stream", "server", "offline", "burst", "concurrency"]
)
def test_every_scenario_survives_a_run_without_any_record(scenario: str) -> None:
    made = Series(Settings(scenario=scenario))
    made.keep(made.records["row"] < 0)
    made.workers = [WorkerFacts(0, issued_count=0)]
    figures = series_figures(made.settings, made.plan, made.table(), SeriesFacts(0))
    assert figures.queries.completed == 0
    assert made.verdict().valid is False


def test_first_responses_count_from_the_scheduled_instant() -> None:
    made = server()
    made.records["first_response_ns"] = made.records["scheduled_ns"] + MS
    made.records["first_response_ns"][0] = NEVER
    first = made.figures().times.first_response_ns
    assert first is not None
    assert (first.count, first.max) == (made.plan.request_count - 1, MS)
