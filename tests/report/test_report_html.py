"""report.html: opens offline, says the verdict first, and stays small for any run."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from report_pages import page_of, written
from series_builder import Series, closed, fail_rows, server
from series_summary import failing, summary_of

from loadgen_service.core.figures.series import series_figures
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.token_rows import CountedBy, TokenRows
from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.run import build_summary
from loadgen_service.core.verdict.judge import judge
from loadgen_service.report import records_reader
from loadgen_service.report.html.run_page import render_html
from loadgen_service.report.records_reader import SeriesRecords, main_series, read_grid
from loadgen_service.report.timeline import read_traces


def plots_of(page: str) -> dict[str, dict]:
    data = re.search(r'<script type="application/json" id="plots">(.*?)</script>', page, re.S)
    assert data
    return json.loads(data[1])


def test_the_verdict_and_its_reasons_come_before_any_plot(tmp_path):
    page = page_of(failing(), tmp_path)
    verdict, reason, plot = (page.index(x) for x in (">INVALID<", "error_budget", 'class="plot"'))
    assert verdict < reason < plot
    assert page.index("NOT MET") < page.index(">met<")


def test_the_page_asks_no_network_for_anything(tmp_path):
    page = page_of(server(), tmp_path)
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="', page.split("<script>")[0])


def test_the_curve_goes_down_to_the_last_sample(tmp_path):
    made = server()
    page = page_of(made, tmp_path)
    summary = summary_of(made)
    curve = plots_of(page)["plot-0"]
    points = [(x, y) for x, y in zip(curve["x"]["values"], curve["series"][0]["values"],
                                     strict=True) if y is not None]  # fmt: skip
    assert points[-1][0] == summary.latency_ns.max
    assert points[-1][1] == pytest.approx(1 / summary.latency_ns.count)


def test_failures_stand_on_the_timeline(tmp_path):
    made = failing(50)
    traces = read_traces(written(made, tmp_path), main_series(summary_of(made)))
    assert traces.failures[Status.FAILED].sum() == 50
    assert traces.failures[Status.LOST].sum() == 0
    assert "connection refused" in page_of(made, tmp_path)


def test_steps_and_latencies_add_up(tmp_path):
    made = failing(50)
    summary = summary_of(made)
    traces = read_traces(written(made, tmp_path), main_series(summary))
    requests = summary.counts.requests
    assert traces.steps["scheduled"].sum() == requests.planned
    assert traces.steps["answered"].sum() == requests.completed
    assert traces.latency.count == requests.issued
    assert traces.latency.unanswered.sum() == 50


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_pieces_never_cut_a_query(tmp_path, monkeypatch, rows):
    made = closed("multi_stream", 12)
    summary = summary_of(made)
    directory = written(made, tmp_path)
    monkeypatch.setattr(records_reader, "ROWS_AT_ONCE", rows)
    pieces = list(SeriesRecords(directory, 0).pieces(["status"]))
    seen = [set(piece["query_index"].tolist()) for piece in pieces]
    assert all(not (a & b) for a, b in itertools.pairwise(seen))
    series = main_series(summary)
    grid = read_grid(directory, series, 4)
    assert grid.count == series.latency_ns.count
    assert grid.tail[-1] == series.latency_ns.max


@pytest.mark.parametrize(
    "made",
    [
        lambda: closed("single_stream", 200),
        lambda: closed("concurrency", 100),
        lambda: Series(Settings(scenario="offline", target_qps=100, min_duration_ms=1000)),
    ],
)
def test_every_scenario_has_a_page_with_its_percentiles(made, tmp_path):
    one = made()
    summary = summary_of(one)
    page = render_html(summary, written(one, tmp_path))
    assert summary.plan_hash in page
    grid = read_grid(tmp_path, main_series(summary), 16)
    read = grid.weighted_quantiles(np.ones((1, 16)), 0.9)[0]
    assert read == pytest.approx(summary.latency_ns.p90, rel=0.002)


def test_a_long_run_makes_no_larger_page(tmp_path):
    sizes = []
    for count in (20_000, 200_000):
        made = server(min_duration_ms=count, target_qps=1000)
        rng = np.arange(len(made.records["completed_ns"]))
        made.records["completed_ns"] = made.records["completed_ns"] + rng * 7919 % 40_000_000
        sizes.append(len(page_of(made, tmp_path)))
    assert sizes[1] < 1.2 * sizes[0]
    assert sizes[1] < 400_000


def test_without_records_the_words_are_still_there(tmp_path):
    page = render_html(summary_of(server()), tmp_path)
    assert "The plots are missing" in page
    assert "VALID" in page


def test_what_a_server_says_cannot_become_markup(tmp_path):
    made = failing(3)
    fail_rows(made.records, slice(0, 3), Status.FAILED)
    summary = summary_of(made, notes=["</script><script>alert(1)</script>"])
    page = render_html(summary, written(made, tmp_path))
    assert "<script>alert(1)" not in page


def test_what_a_silent_server_took_is_drawn_as_one_part(tmp_path):
    made = server()
    page = page_of(made, tmp_path)
    assert "network and SUT" in page
    assert "network and the rest" not in page


def test_what_a_server_told_of_its_own_time_takes_the_place_of_the_whole(tmp_path):
    made = server()
    issued = made.records["issued_ns"]
    made.records |= {
        "server_received_ns": issued + 100_000,
        "server_queue_ns": np.full(len(issued), 1_000_000),
        "server_compute_ns": np.full(len(issued), 2_000_000),
        "server_sent_ns": issued + 3_100_000,
    }
    page = page_of(made, tmp_path)
    assert "network and the rest" in page
    assert "computing in the SUT" in page
    assert "network and SUT" not in page


def test_streamed_answers_have_their_tokens_on_the_page(tmp_path):
    made = server()
    made.records["first_response_ns"] = made.records["scheduled_ns"] + 3_000_000
    made.records["token_count"][:] = 4
    rows = made.records["row"].astype(np.int64)
    first = made.records["first_response_ns"]
    tokens = TokenRows(
        rows,
        np.full(len(rows), 2, np.int64),
        np.full(len(rows), 7, np.int32),
        np.full(len(rows), CountedBy.USAGE, np.uint8),
        np.stack([first, first + 1_500_000], axis=1).ravel(),
    )
    facts = replace(made.run, series=[made.series_facts])
    figures = series_figures(made.settings, made.plan, made.table(), made.series_facts, tokens)
    verdict = judge(made.settings, made.plan, figures, facts)
    summary = build_summary(made.settings, facts, [(made.plan, figures, verdict)])
    page = render_html(summary, written(made, tmp_path))
    assert "median TTFT" in page
    assert "<td>ITL (gap between pieces)</td><td>1.5 ms</td>" in page
    assert re.search(r"output tokens a request \(counted [\d,]+ by usage\)</td><td>4</td>", page)
    assert len(plots_of(page)) == len(plots_of(page_of(server(), tmp_path))) + 2
