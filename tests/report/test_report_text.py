"""The report says the verdict first, then why, then every figure of the summary."""

from __future__ import annotations

import pytest
from rich.console import Console
from series_builder import Series, closed, server
from series_summary import failing, summary_of

from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.run import build_summary
from loadgen_service.report.formatting import say_count, say_rate, say_verdict, table
from loadgen_service.report.text import render
from loadgen_service.report.verdict_table import complaints, print_table, row


def test_a_valid_run_says_so_in_its_first_word():
    text = render(summary_of(server()))
    assert text.startswith("VALID: server, performance")
    assert text.endswith("\n")
    assert "FAIL" not in text


def test_an_invalid_run_says_why_and_what_to_do():
    summary = summary_of(failing())
    text = render(summary)
    assert text.startswith("INVALID: server")
    assert "because " in text.splitlines()[1]
    assert "FAIL error_budget" in text
    unmet = next(f for f in summary.findings if f.name == "error_budget")
    assert f"-> {unmet.advice}" in text
    assert "200 x gRPC 14 at SUT 0: connection refused" in text


def test_every_finding_and_every_count_is_in_the_report():
    summary = summary_of(failing())
    text = render(summary)
    assert all(finding.name in text and finding.required in text for finding in summary.findings)
    assert f"{summary.counts.samples.failed:,}" in text
    assert summary.plan_hash in text


def test_notes_and_gaps_are_said():
    text = render(summary_of(server(), notes=["no clock"], gaps=["worker 0: batch 7"]))
    assert "  no clock" in text
    assert "  gap: worker 0: batch 7" in text


def test_several_workers_are_compared():
    text = render(summary_of(server(workers=2)))
    assert "by worker" in text


@pytest.mark.parametrize(
    "made",
    [
        lambda: closed("single_stream", 200),
        lambda: closed("multi_stream", 50),
        lambda: Series(Settings(scenario="offline", target_qps=100, min_duration_ms=1000)),
        lambda: Series(
            Settings(scenario="burst", burst_period_ms=10, min_duration_ms=100, min_query_count=20)
        ),
        lambda: closed("concurrency", 100),
    ],
)
def test_every_scenario_has_a_report_and_a_row(made):
    summary = summary_of(made())
    assert summary.scenario in render(summary)
    assert all(row(summary))


def test_a_run_without_any_series_still_has_a_report():
    made = server()
    text = render(build_summary(made.settings, made.run, []))
    assert text.startswith("NOT JUDGED")


def test_the_table_has_a_row_a_run_and_the_complaints_below():
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(console, [summary_of(server()), summary_of(failing())], title="two")
    text = console.export_text()
    assert "VALID" in text
    assert "INVALID" in text
    assert "error_budget" in text


def test_a_valid_run_has_no_complaint():
    assert complaints([summary_of(server())]) == []


def test_words_for_numbers():
    assert say_verdict(True, "INTERRUPTED") == "INTERRUPTED"
    assert (say_verdict(True), say_verdict(False), say_verdict(None)) == (
        *("VALID", "INVALID", "NOT JUDGED"),
    )
    assert say_count(1234567) == "1,234,567"
    assert (say_rate(None), say_rate(12.3456), say_rate(12345.6)) == ("-", "12.35", "12,346")


def test_columns_line_up():
    lines = table([["", "a", "bbb"], ["long name", "1", "2"]])
    assert lines == ["             a  bbb", "  long name  1    2"]
