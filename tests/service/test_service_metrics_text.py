"""Prometheus text into samples: as told, and any other bytes a failure with its cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from loadgen_service.core.facts.scraped_metrics import Sample
from loadgen_service.service.scrape import fetch
from loadgen_service.service.scrape.fetch import ScrapeFailure, TextReader

PIECES = st.sampled_from(
    [
        *("a", "a_total", "{", "}", ",", " ", "\t", "\n", "#", "\\"),
        *('m="x"', 'm="a b"', "1", "NaN", "-3e5"),
    ]
)


def samples_of(body: bytes) -> list[Sample]:
    return TextReader().samples(body)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"<html>secret</html>", "no Prometheus text"),
        (b'{"secret": 1}', "no Prometheus text"),
        (b"\xff\xfe", "no Prometheus text"),
        (b"", "holds no metric"),
        (b"# HELP a b\n", "holds no metric"),
    ],
)
def test_what_is_no_metrics_is_told_without_repeating_it(body: bytes, cause: str) -> None:
    with pytest.raises(ScrapeFailure, match=cause) as failure:
        samples_of(body)
    assert "secret" not in str(failure.value)


def test_a_second_reading_has_the_new_values_of_the_same_lines() -> None:
    reader = TextReader()
    text = 'a{{m="x y"}} {0}\n# a comment {0}\n\nb {0}\nstamped{{m="x"}} {0} 17000000{0}\n'
    for value in (1, 2, 3):
        assert reader.samples(text.format(value).encode()) == [
            ("a", {"m": "x y"}, value),
            ("b", {}, value),
            ("stamped", {"m": "x"}, value),
        ]


def test_tabs_between_the_parts_of_a_line_mix_up_no_lines() -> None:
    reader = TextReader()
    for _ in range(2):
        text = b'a\t1\nb\t2\nc{m="x y"}\t3\nc{m="x z"}\t4\nd 5\nd 6\t17\n'
        assert [(name, value) for name, _, value in reader.samples(text)] == [
            ("a", 1), ("b", 2), ("c", 3), ("c", 4), ("d", 5), ("d", 6),
        ]  # fmt: skip


def test_a_server_that_always_makes_new_labels_does_not_grow_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "KNOWN_MAX", 3)
    reader = TextReader()
    for number in range(20):
        assert reader.samples(f'a{{m="{number}"}} 1\n'.encode()) == [("a", {"m": str(number)}, 1)]
        assert len(reader._known) <= 4


@given(text=st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_what_the_parser_says_or_a_failure_on_the_second_reading_too(
    text: str,
) -> None:
    reader = TextReader()
    first, second = (_said(reader, text) for _ in range(2))
    assert first == second
    if isinstance(first, list):
        alone = [
            (one.name, one.labels, repr(float(one.value)))
            for family in text_string_to_metric_families(text)
            for one in family.samples
        ]
        assert first == alone


def _said(reader: TextReader, text: str) -> list[tuple[str, object, str]] | str:
    try:
        return [
            (name, labels, repr(value)) for name, labels, value in reader.samples(text.encode())
        ]
    except ScrapeFailure as failure:
        return str(failure)


def test_names_labels_and_values_are_kept() -> None:
    text = b'# TYPE a_total counter\na_total{m="x,\\"y"} 3\nvllm:b 0.5\n'
    assert samples_of(text) == [("a_total", {"m": 'x,"y'}, 3.0), ("vllm:b", {}, 0.5)]


def test_a_counter_keeps_its_name_with_or_without_total() -> None:
    text = (
        b'# TYPE nv_inference_count counter\nnv_inference_count{model="m"} 1\n'
        b"# TYPE vllm:request_success_total counter\nvllm:request_success_total 2\n"
    )
    names = [name for name, _, _ in samples_of(text)]
    assert names == ["nv_inference_count", "vllm:request_success_total"]
