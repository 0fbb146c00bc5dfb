"""What a person reads while a run lasts, and what a program gets when it ends."""

from __future__ import annotations

import json

import pytest
from loadgen_proto import loadgen_pb2 as pb
from rich.console import Console

from loadgen_service.cli import progress_lines
from loadgen_service.cli.progress_view import panel
from loadgen_service.cli.run_watcher import ending

SECOND = 1_000_000_000


def status(state: int = pb.RUNNING, seconds: float = 0.0, **fields: object) -> pb.RunStatus:
    return pb.RunStatus(
        run_id="r",
        state=state,
        scenario="server",
        mode="performance",
        elapsed_ns=int(seconds * SECOND),
        planned_ns=10 * SECOND,
        queries=pb.Counts(planned=1000, issued=500, completed=480, failed=15, timed_out=3),
        live=pb.LiveFigures(completed_qps=96.5, latency_ns_p50=2_500_000, outstanding=2),
        **fields,
    )


def test_figures_are_in_words_and_units():
    shown = progress_lines.figures(status(seconds=5))
    assert shown["elapsed"] == "5.0 s"
    assert shown["failed"] == "18"
    assert shown["p50"] == "2.5 ms"
    assert shown["outstanding"] == "2"


def test_a_language_models_figures_stand_before_the_others():
    told = status(seconds=5)
    told.live.ttft_ns_p50, told.live.ttft_ns_p99 = 50_000_000, 90_000_000
    told.live.tokens_per_second = 80.0
    shown = progress_lines.figures(told)
    assert (shown["TTFT p50"], shown["TTFT p99"], shown["tokens/s"]) == ("50 ms", "90 ms", "80")
    names = list(shown)
    assert names.index("tokens/s") < names.index("rate")
    assert "TTFT p50" not in progress_lines.figures(status(seconds=5))


def test_figures_before_the_first_answer_are_not_zero():
    early = status()
    early.queries.Clear()
    assert progress_lines.figures(early)["p99"] == "-"


def test_plain_lines_come_with_a_state_and_each_five_seconds():
    lines = progress_lines.PlainLines()
    said = [lines.lines(status(pb.LEASING))]
    said += [lines.lines(status(seconds=s)) for s in (0, 1, 4.9, 5, 6, 10)]
    said += [lines.lines(status(pb.DRAINING, 10.1))]
    assert [len(each) for each in said] == [1, 1, 0, 0, 1, 0, 1, 1]


def test_a_note_is_said_once():
    lines = progress_lines.PlainLines()
    first = lines.lines(status(notes=["the SUT has no clock"]))
    assert first[0].endswith("note: the SUT has no clock")
    assert not lines.lines(status(notes=["the SUT has no clock"]))


def test_several_series_are_named():
    text = progress_lines.title(status(series_count=3, series_index=1, series_name="accuracy-1"))
    assert text == "server performance, accuracy-1 (2 of 3)"


@pytest.mark.parametrize(("width"), [80, 120])
def test_the_panel_shows_every_figure(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(panel(status(seconds=5)))
    text = console.export_text()
    assert all(name in text for name in ("elapsed", "outstanding", "480", "18"))
    assert len(text.splitlines()) <= 6


@pytest.mark.parametrize(
    ("state", "fields", "code"),
    [
        (pb.DONE, {"summary_json": json.dumps({"valid": True})}, 0),
        (pb.DONE, {"summary_json": json.dumps({"valid": False})}, 1),
        (pb.DONE, {"summary_json": json.dumps({"valid": None})}, 3),
        (pb.FAILED, {"error": "no such model", "error_exit_code": 2}, 2),
        (pb.FAILED, {"error": "no workers", "error_exit_code": 3}, 3),
        (pb.INTERRUPTED, {"summary_json": json.dumps({"valid": True})}, 3),
        (pb.RUNNING, {}, 3),
    ],
)
def test_a_final_status_is_an_exit_code(state, fields, code):
    assert ending(status(state, **fields)).exit_code == code


def test_an_interrupted_run_says_what_its_results_are():
    assert "before anything" in ending(status(pb.INTERRUPTED)).error
    assert "partial" in ending(status(pb.INTERRUPTED, summary_json="{}")).error
