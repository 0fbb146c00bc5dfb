"""Prompts: made to a distribution, or read from lines; the same on every host; errors in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.qsl.library import open_library
from loadgen_service.qsl.sources.lengths import parse_lengths
from loadgen_service.qsl.sources.prompts import open_prompts, request_parameters

SUT = ["openai://127.0.0.1:1/v1"]


def settings(**given) -> Settings:
    return Settings(sut=SUT, model="m", **given)


def samples(**given) -> list[dict]:
    made = open_prompts(settings(**given))
    return [json.loads(made.sample(index)[0]) for index in range(made.count)]


def test_made_prompts_have_the_lengths_that_were_asked_for():
    found = samples(
        prompt_tokens="uniform:10:20", output_tokens="constant:7", total_sample_count=200
    )
    counts = [len(one["messages"][0]["content"].split()) for one in found]
    assert (min(counts), max(counts)) == (10, 20)
    assert {one["max_tokens"] for one in found} == {7}
    assert len({one["messages"][0]["content"] for one in found}) == 200
    again = samples(prompt_tokens="uniform:10:20", output_tokens="constant:7", total_sample_count=9)
    assert again == found[:9]


def test_the_hash_covers_what_is_sent_and_nothing_else():
    one = open_prompts(settings(total_sample_count=4)).content_hash()
    assert one == open_prompts(settings(total_sample_count=4)).content_hash()
    for other in (
        {"data_seed": 1},
        {"prompt_tokens": "constant:9"},
        {"request_parameters": '{"temperature": 0}'},
        {"openai_api": "completions"},
    ):
        assert one != open_prompts(settings(total_sample_count=4, **other)).content_hash()
    assert (
        one == open_prompts(Settings(sut=SUT, model="other", total_sample_count=4)).content_hash()
    )


def test_lines_may_be_text_prompts_messages_or_a_trace(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    lines = [
        "hello",
        {"prompt": "a", "temperature": 0.5},
        {"messages": [{"role": "user", "content": "b"}], "max_tokens": 3},
        {"timestamp": 12, "input_length": 5, "output_length": 9, "hash_ids": [1]},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    found = samples(dataset=str(path))
    assert found[0] == {"messages": [{"role": "user", "content": "hello"}]}
    assert found[1] == {"messages": [{"role": "user", "content": "a"}], "temperature": 0.5}
    assert found[2]["max_tokens"] == 3
    assert len(found[3]["messages"][0]["content"].split()) == 5
    assert (found[3]["max_tokens"], set(found[3])) == (9, {"messages", "max_tokens"})
    del lines[2]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    assert samples(dataset=str(path), openai_api="completions")[0] == {"prompt": "hello"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "holds no prompt"),
        ("{", "line 1 is not JSON"),
        ("5", "line 1: must be text"),
        ('{"prompt": 5}', "wants prompt"),
        ('{"input_length": -1}', "input_length must be a whole number"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, content: str, named: str):
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        samples(dataset=str(path))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_mistakes_are_one_line_too(tmp_path: Path):
    for given in (
        {"dataset": "digits"},
        {"dataset": str(tmp_path / "none.jsonl")},
        {"prompt_tokens": "often"},
        {"output_tokens": "uniform:1"},
        {"request_parameters": "[1]"},
        {"request_parameters": "{"},
    ):
        with pytest.raises(UserError) as caught:
            samples(**given)
        assert "\n" not in str(caught.value)


def test_lengths_follow_their_distribution():
    lengths = parse_lengths("x", "lognormal:100:0.5")
    drawn = sorted(lengths.draw(3, 0, index) for index in range(2001))
    assert abs(drawn[1000] - 100) < 6
    assert drawn[0] >= 1


def test_the_library_serves_prompts_for_an_openai_sut():
    library = open_library(settings(total_sample_count=16), [], False)
    assert (library.total_sample_count, library.performance_sample_count) == (16, 16)
    assert not library.batched
    assert request_parameters(settings(request_parameters='{"a": null}')) == {"a": None}
