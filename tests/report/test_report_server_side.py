"""The SUT's own count in report.txt and report.html: figures, and what is amiss, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from report_pages import written
from series_builder import Series, server
from series_summary import summary_of

from loadgen_service.core.facts.server_stats import ModelReading, ServerFacts
from loadgen_service.core.summary.run import Summary
from loadgen_service.report.html.run_page import render_html
from loadgen_service.report.text import render

MS = 1_000_000


def reading(requests: int, size: int = 1) -> ModelReading:
    return ModelReading(
        sut_index=0,
        model="<m>",
        version="3",
        composing=False,
        inference_count=requests * size,
        execution_count=requests,
        times={"success": (requests, requests * 3 * MS), "queue": (requests, requests * MS)},
        batches=((size, requests, requests * 2 * MS),) if requests else (),
    )


def measured(before: int, surplus: int) -> Series:
    made = server()
    after = before + len(made.records["row"]) + surplus
    made.facts = replace(made.facts, server=ServerFacts([reading(before)], [reading(after)]))
    return made


def summary(before: int, surplus: int) -> Summary:
    return summary_of(measured(before, surplus))


def test_means_of_each_part_stand_in_one_row() -> None:
    text = render(summary(0, 0))
    (row,) = [line for line in text.splitlines() if line.strip().startswith("0 <m> 3")]
    assert " ".join(row.split()[3:]) == "1,036 0 4.97 ms 1 ms - - - 2 ms 1.97 ms 1"
    assert "batches 1,036 of 1 (2 ms)" in text
    assert "other clients" not in text


def test_strangers_are_named() -> None:
    assert "answered 7 requests more than this run completed" in render(summary(0, 7))


def test_a_restart_is_named_and_shows_no_negative() -> None:
    text = render(summary(50, -1040))
    assert "its counters went backwards" in text
    (row,) = [line for line in text.splitlines() if line.strip().startswith("0 <m> 3")]
    assert set(row.split()[3:]) == {"-"}


def test_the_page_explains_the_columns_and_escapes_names(tmp_path: Path) -> None:
    made = measured(0, 0)
    page = render_html(summary_of(made), written(made, tmp_path))
    assert "Inside the server" in page
    assert "waiting for its turn (queue)" in page
    assert "0 &lt;m&gt; 3" in page
    assert "<m>" not in page


def test_a_page_without_statistics_has_no_such_section(tmp_path: Path) -> None:
    made = server()
    made.facts = replace(made.facts, server=ServerFacts(missing=[(0, "it has none")]))
    found = summary_of(made)
    assert found.suts[0].server_statistics is not None
    assert found.suts[0].server_statistics.missing == "it has none"
    assert "Inside the server" not in render_html(found, written(made, tmp_path))
    assert "counted by the SUT" not in render(found)
