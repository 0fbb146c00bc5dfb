"""Foreign words drive no terminal, whichever edge they leave by."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_builder import server

from loadgen_service.cli.safe_streams import SafeStream
from loadgen_service.core.facts.run import ErrorFacts, SutFacts
from loadgen_service.core.printable import printable
from loadgen_service.core.summary.run import build_summary
from loadgen_service.report.text import render
from loadgen_service.report.verdict_table import print_table

EVIL = "\x1b]0;owned\x07\x1b[2J\r\u202eabc\u2028\x9b31m\ud800\x7f"


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "é ü 漢字 🙂 µs", ""])
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_nothing_unsafe_is_left(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert all(one in "\n\t" or (one >= " " and one != "\x7f") for one in shown)
    shown.encode()


def test_json_stays_the_same_json() -> None:
    text = json.dumps({"a": "\u009b\u2028\u202e"}, ensure_ascii=False)
    assert json.loads(printable(text)) == json.loads(text)


def test_a_stream_escapes_what_is_printed_and_leaves_the_rest_alone() -> None:
    raw = io.StringIO()
    stream = SafeStream(raw)
    print(f"said {EVIL}", file=stream)
    stream.writelines([EVIL])
    assert "\x1b" not in raw.getvalue()
    assert raw.getvalue().startswith("said \\u001b]0;owned\\u0007")
    assert not stream.isatty()
    assert stream.rich_proxied_file is raw


def test_names_and_errors_of_a_sut_are_escaped_in_every_report() -> None:
    from rich.console import Console

    made = server()
    made.run = type(made.run)(
        **{
            name: getattr(made.run, name)
            for name in made.run.__dataclass_fields__
            if name not in ("suts", "notes")
        },
        suts=[SutFacts(0, "grpc://127.0.0.1:1", EVIL, EVIL)],
        notes=(EVIL,),
    )
    made.facts = type(made.facts)(made.series, errors=(ErrorFacts(2, EVIL, 3),))
    made.records["status"][:3] = 2
    summary = build_summary(
        made.settings, made.run_facts, [(made.plan, made.figures(), made.verdict())]
    )
    text = render(summary)
    out = io.StringIO()
    print_table(Console(file=out, width=200), [summary], title=EVIL)
    for shown in (text, out.getvalue()):
        assert not set(shown) & set("\x1b\x07\r\u202e\u2028\x9b\ud800\x7f")
    assert "\\u001b]0;owned" in text
