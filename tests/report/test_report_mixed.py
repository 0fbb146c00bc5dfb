"""All streams together: valid only if each is, every reason under its stream's name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from series_builder import Series, fail_rows, server

from loadgen_service.core.facts.run import ErrorFacts
from loadgen_service.core.records.columns import Status
from loadgen_service.core.summary.mixed import (
    MixedSummary,
    StreamSummary,
    build_mixed,
    mixed_from_json,
    mixed_to_json,
)
from loadgen_service.core.summary.run import Summary, build_summary
from loadgen_service.errors import UserError
from loadgen_service.report.html.mixed_page import render_mixed_html, render_mixed_text


def summary_of(series: Series, late_ns: int = 0) -> Summary:
    facts = series.series_facts
    workers = [replace(one, late_start_ns=late_ns) for one in facts.workers]
    series.run = replace(series.run, series=[replace(facts, workers=tuple(workers))])
    return build_summary(
        series.settings, series.run, [(series.plan, series.figures(), series.verdict())]
    )


def failing() -> Series:
    made = server()
    fail_rows(made.records, slice(0, 200), Status.FAILED)
    made.facts = replace(made.facts, errors=[ErrorFacts(14, "connection refused", 200)])
    return made


def stream(index: int, summary: Summary | None, **changes: object) -> StreamSummary:
    code = {True: 0, False: 1, None: 3}[summary.valid if summary else None]
    given: dict[str, object] = {
        "stream_index": index,
        "name": f"s{index}",
        "run_id": f"id{index}",
        "directory": f"streams/s{index}",
        "state": "DONE",
        "worker_count": 1,
        "exit_code": code,
        "error": "",
        "summary": summary,
    }
    return StreamSummary.model_validate({**given, **changes})


def mixed(*streams: StreamSummary) -> MixedSummary:
    return build_mixed("m1", streams, ())


def test_it_is_valid_only_if_every_stream_is() -> None:
    good, bad = summary_of(server()), summary_of(failing())
    assert mixed(stream(0, good), stream(1, good)).valid is True
    joined = mixed(stream(0, good), stream(1, bad))
    assert joined.valid is False
    assert joined.invalid_reason.startswith("s1: ")
    assert mixed(stream(0, good), stream(1, None, state="FAILED", error="no server")).valid is None
    lost = mixed(stream(0, bad), stream(1, None, state="FAILED", error="no server"))
    assert (lost.valid, lost.state) == (False, "FAILED")


def test_the_start_is_as_good_as_its_latest_worker() -> None:
    streams = [stream(i, summary_of(server(), late)) for i, late in enumerate((300, 1_300))]
    start = mixed(*streams).start
    assert start is not None
    assert (start.late_ns_min, start.late_ns_max, start.skew_ns) == (300, 1_300, 1_000)
    assert start.worker_count == 2


def test_streams_of_unequal_length_are_noted() -> None:
    long = summary_of(server())
    assert long.elapsed_ns
    short = long.model_copy(update={"elapsed_ns": long.elapsed_ns // 2})
    assert mixed(stream(0, long), stream(1, long)).notes == []
    joined = mixed(stream(0, long), stream(1, short))
    assert joined.together_ns == short.elapsed_ns
    (note,) = joined.notes
    assert note.startswith("stream s1 was over after")
    assert "give the streams equal durations" in note


def test_it_is_read_as_it_was_written_and_refused_if_it_is_another_thing() -> None:
    joined = mixed(stream(0, summary_of(server())))
    assert mixed_from_json(mixed_to_json(joined)) == joined
    for text, said in (("{", "not JSON"), ("[]", "version None"), ('{"version": 1}', "run_id")):
        with pytest.raises(UserError, match=said):
            mixed_from_json(text)


def test_the_report_names_every_stream_and_why_it_failed() -> None:
    joined = mixed(
        stream(0, summary_of(server())),
        stream(1, summary_of(failing())),
        stream(2, None, state="FAILED", error="no server <there>"),
    )
    text = render_mixed_text(joined)
    assert text.startswith("INVALID  mixed run m1\n")
    assert "s1: server: " in text
    assert "s2: no server <there>" in text
    assert "streams/s2/report.txt" not in text
    page = render_mixed_html(joined)
    assert 'href="streams/s0/report.html"' in page
    assert "no server &lt;there&gt;" in page
    assert "streams/s2/report.html" not in page
