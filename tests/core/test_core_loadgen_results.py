"""Our figures of the official LoadGen's own measurements equal the official LoadGen's figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from official_results import official_results
from series_builder import MS, Series, records_of

from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.settings import Settings

DELAYS = [float(x) for x in np.random.default_rng(7).lognormal(0.0, 0.8, 997)]
PERCENTILES = {"50.00": "p50", "90.00": "p90", "95.00": "p95", "97.00": "p97", "99.00": "p99"}


def measured(settings: Settings, official: dict[str, Any], scale: float) -> tuple[Series, Any]:
    """The official run's trace as a series of ours, and its detail log."""
    answer = official_results(official, [x * scale for x in DELAYS])
    query, scheduled, issued, completed = np.array(answer["samples"], dtype=np.int64).T
    made = Series(settings)
    first = np.flatnonzero(np.diff(query, prepend=-1))
    place = np.arange(len(query)) - np.repeat(first, np.diff(first, append=len(query)))
    rows = query * made.plan.requests_per_query + place
    made.records = records_of(
        made.plan,
        rows,
        scheduled_ns=scheduled,
        released_ns=issued,
        issued_ns=issued,
        first_response_ns=completed,
        completed_ns=completed,
    )
    worker = made.workers[0]
    made.workers = [type(worker)(0, issued_count=len(rows), ended_by="minima")]
    return made, answer["detail"]


def check_latencies(figures: SeriesFigures, detail: dict[str, Any], infix: str = "") -> None:
    ours = figures.latency_ns
    assert ours is not None
    assert ours.min == detail[f"result_min{infix}_latency_ns"]
    assert ours.max == detail[f"result_max{infix}_latency_ns"]
    assert ours.mean == detail[f"result_mean{infix}_latency_ns"]
    per = "_per_query" if infix else ""
    for theirs, name in PERCENTILES.items():
        assert getattr(ours, name) == detail[f"result_{theirs}_percentile{per}_latency_ns"]
    assert ours.p99_9 == detail[f"result_99.90_percentile{per}_latency_ns"]


def check_verdict(series: Series, detail: dict[str, Any]) -> None:
    verdict = series.verdict()
    met = {finding.name: finding.met for finding in verdict.findings}
    assert verdict.loadgen_valid == (detail["result_validity"] == "VALID")
    assert met["min_duration"] == detail["result_min_duration_met"]
    assert met["min_query_count"] == detail["result_min_queries_met"]
    assert met.get("early_stopping", True) == detail["early_stopping_met"]
    assert met.get("latency", True) == detail.get("result_perf_constraints_met", True)


@pytest.mark.parametrize(("limit_ms", "min_query_count"), [(50, 500), (4, 500), (50, 100)])
def test_server_figures_and_verdict_equal_the_official_ones(
    limit_ms: int, min_query_count: int
) -> None:
    qps = 900 if min_query_count == 500 else 300
    settings = Settings(
        scenario="server",
        target_qps=qps,
        target_latency_ms=limit_ms,
        min_duration_ms=600,
        min_query_count=min_query_count,
    )
    official = {
        "scenario": "Server",
        "mode": "PerformanceOnly",
        "server_target_qps": qps,
        "server_target_latency_ns": limit_ms * MS,
        "min_duration_ms": 600,
        "min_query_count": min_query_count,
        "qsl_rng_seed": settings.qsl_rng_seed,
        "sample_index_rng_seed": settings.sample_index_rng_seed,
        "schedule_rng_seed": settings.schedule_rng_seed,
    }
    series, detail = measured(settings, official, 1.0)
    figures = series.figures()
    check_latencies(figures, detail)
    check_verdict(series, detail)
    own = figures.loadgen
    assert figures.queries.issued == detail["result_query_count"]
    assert own.overlatency_count == detail["result_overlatency_query_count"]
    assert own.completed_samples_per_second == pytest.approx(
        detail["result_completed_samples_per_sec"], rel=1e-5
    )
    assert own.scheduled_samples_per_second == pytest.approx(
        detail["result_scheduled_samples_per_sec"], rel=1e-5
    )


@pytest.mark.parametrize("min_query_count", [700, 40])
def test_single_stream_figures_and_verdict_equal_the_official_ones(min_query_count: int) -> None:
    settings = Settings(
        scenario="single_stream",
        expected_latency_ms=0.2,
        min_duration_ms=10,
        min_query_count=min_query_count,
    )
    official = {
        "scenario": "SingleStream",
        "mode": "PerformanceOnly",
        "single_stream_expected_latency_ns": 200_000,
        "min_duration_ms": 10,
        "min_query_count": min_query_count,
    }
    series, detail = measured(settings, official, 0.3)
    figures = series.figures()
    check_latencies(figures, detail)
    check_verdict(series, detail)
    stopping = figures.loadgen.early_stopping
    assert stopping is not None
    if stopping.met:
        assert stopping.estimate_ns == detail["early_stopping_latency_ss"]
        assert (stopping.estimate_99_ns or 0) == detail["early_stopping_latency_ms"]
    assert figures.loadgen.qps_without_overhead == pytest.approx(
        detail["result_qps_without_loadgen_overhead"], rel=1e-5
    )
    # LoadGen's start lies before the first query, by a time that the trace does not show
    ours = figures.loadgen.qps_with_overhead
    assert ours is not None
    assert detail["result_qps_with_loadgen_overhead"] <= ours * (1 + 1e-5)


def test_multi_stream_figures_and_verdict_equal_the_official_ones() -> None:
    settings = Settings(
        scenario="multi_stream",
        expected_latency_ms=0.2,
        min_duration_ms=10,
        min_query_count=680,
        samples_per_query=3,
    )
    official = {
        "scenario": "MultiStream",
        "mode": "PerformanceOnly",
        "multi_stream_expected_latency_ns": 200_000,
        "multi_stream_samples_per_query": 3,
        "min_duration_ms": 10,
        "min_query_count": 680,
    }
    series, detail = measured(settings, official, 0.2)
    figures = series.figures()
    check_latencies(figures, detail, "_query")
    check_verdict(series, detail)
    stopping = figures.loadgen.early_stopping
    assert stopping is not None
    assert stopping.estimate_ns == detail["early_stopping_latency_ms"]


@pytest.mark.parametrize("delay_ms", [300.0, 1.0])
def test_offline_figures_and_verdict_equal_the_official_ones(delay_ms: float) -> None:
    settings = Settings(
        scenario="offline", target_qps=1000, min_duration_ms=200, min_query_count=100
    )
    official = {
        "scenario": "Offline",
        "mode": "PerformanceOnly",
        "offline_expected_qps": 1000,
        "min_duration_ms": 200,
        "min_query_count": 100,
    }
    series, detail = measured(settings, official, delay_ms / DELAYS[0])
    figures = series.figures()
    assert figures.samples.issued == 220
    check_latencies(figures, detail)
    check_verdict(series, detail)
    assert figures.loadgen.samples_per_second == pytest.approx(
        detail["result_samples_per_second"], rel=1e-5
    )
