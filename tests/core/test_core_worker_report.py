"""A worker's own figures: one field each, from its message to every output."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from series_builder import Series, server

from loadgen_service.core.facts.worker_report import WORKER, WorkerReport
from loadgen_service.core.figures.figure import figures_of
from loadgen_service.core.summary.parts import MeasuredTimes, WorkerSummary
from loadgen_service.core.summary.run import Summary, build_summary, summary_to_json
from loadgen_service.report.formatting import report_said, say_figure
from loadgen_service.report.html.page import Page
from loadgen_service.report.html.tables import identity_tables
from loadgen_service.report.text import render

FULL = WorkerReport(
    cpu_share=0.75,
    rss_bytes=123_400_000,
    loop_lag_ns=5_000,
    unacknowledged_batches=3,
    late_start_ns=7_000,
    blocked_by_streams=2,
    resent_count=4,
    peak_outstanding=9,
    stolen_share=0.125,
    waited_share=0.0625,
)


def summary_with(report: WorkerReport) -> Summary:
    made: Series = server()
    worker = replace(made.series_facts.workers[0], **report.to_message())
    facts = replace(made.series_facts, workers=(worker,))
    made.run = replace(made.run, series=[facts])
    return build_summary(made.settings, made.run, [(made.plan, made.figures(), made.verdict())])


def test_every_field_is_a_figure_and_has_a_test_value() -> None:
    assert list(figures_of(WorkerReport)) == list(FULL.to_message())
    assert all(figure.group == WORKER for figure in figures_of(WorkerReport).values())


def test_a_report_comes_back_from_its_message() -> None:
    assert WorkerReport.of_message(FULL.to_message()) == FULL
    assert WorkerReport.of_message({}) == WorkerReport()
    assert isinstance(WorkerReport.of_message({"rss_bytes": 5.0}).rss_bytes, int)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_and_what_nobody_knows_is_passed_over(value: float) -> None:
    report = WorkerReport.of_message({"rss_bytes": value, "of_a_newer_worker": 1.0})
    assert report == WorkerReport()


@pytest.mark.parametrize("name", list(FULL.to_message()))
def test_every_figure_reaches_text_page_and_summary(name: str) -> None:
    figure = figures_of(WorkerReport)[name]
    value = FULL.to_message()[name]
    said = f"{figure.label} {say_figure(figure, value)}"
    summary = summary_with(FULL)
    assert said in report_said(summary.workers[0])
    assert said in render(summary)
    page = Page("workers")
    for title, words, blocks in identity_tables(summary):
        page.section(title, *blocks, words=words)
    assert said in page.html()


def test_figures_of_heartbeats_alone_stay_out_of_the_summary() -> None:
    (worker,) = json.loads(summary_to_json(summary_with(FULL)))["workers"]
    live = {"cpu_share", "rss_bytes", "loop_lag_ns", "unacknowledged_batches"}
    assert FULL.to_message().keys() - worker.keys() == live
    assert worker["stolen_share"] == 0.125


def test_the_schema_says_label_unit_and_direction() -> None:
    fields = WorkerSummary.model_json_schema()["properties"]
    assert fields["stolen_share"]["unit"] == "share"
    assert fields["stolen_share"]["better"] == "less"
    assert fields["late_ns"]["title"] == "generator late"


def test_metrics_are_in_base_units_and_named_by_them() -> None:
    for figure in (*figures_of(WorkerReport).values(), *figures_of(MeasuredTimes).values()):
        if figure.metric:
            assert figure.metric.endswith("_seconds") == (figure.unit == "ns")
    assert figures_of(WorkerReport)["loop_lag_ns"].to_prometheus(2e9) == 2.0
