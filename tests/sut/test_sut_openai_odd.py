"""Answers that servers really send and no specification has: each is read, or fails by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadgen_service.core.records.token_rows import CountedBy
from loadgen_service.sut.http.sse import EVENT_BYTES_MAX, ErrorEvent, SseReader
from loadgen_service.sut.openai.chunk import ChunkError, read_chunk
from loadgen_service.sut.openai.response import OpenAiAnswer, complaint
from loadgen_service.sut.openai.usage import COUNT_MAX, UsageError, token_count

SSE = {b"content-type": b"text/event-stream"}
DONE = b"data: [DONE]\n\n"
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def said(content: Any = None, **delta: Any) -> bytes:
    fields = delta if content is None else {"content": content, **delta}
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def used(prompt: Any, completion: Any) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return event({"choices": [], "usage": usage})


def read(body: bytes, step: int = 1 << 20, **given: Any) -> tuple[bytes, tuple]:
    answer = OpenAiAnswer(**given)
    answer.begin(200, SSE)
    pieces = b"".join(answer.feed(body[at : at + step]) for at in range(0, len(body), step))
    return pieces + answer.end(), answer.ending()


def read_whole(body: bytes) -> tuple:
    answer = OpenAiAnswer()
    answer.begin(200, {b"content-type": b"application/json"})
    answer.feed(body)
    answer.end()
    return answer.ending()


# ------------------------------------------------------------ failures within a 200
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (event({"error": {"message": "EngineCore died", "code": 500}}), "EngineCore died"),
        (event({"error": "overloaded", "error_type": "overloaded"}), "overloaded"),
        (b"event: error\n: worker lost\n\n", "worker lost"),
        (b": worker lost\nevent: error\n\n", "worker lost"),
        (b"event: error\n\n", "no text"),
        (b'event:error\r\ndata: {"message": "boom", "code": 500}\r\n\r\n', "boom"),
        (b'error: {"code":500,"message":"slot lost"}\n\n', "slot lost"),
        (event({"object": "error", "message": "boom", "code": 500}), "boom"),
        (event({"object": "error"}), 'an object "error" without a message'),
        (event({"choices": [{"delta": {}, "finish_reason": "error"}]}), "finish_reason error"),
        (
            event({"choices": [{"finish_reason": {"type": "abort", "message": "queue full"}}]}),
            "queue full",
        ),
        (event({"choices": [{"error": {"message": "upstream"}, "delta": {}}]}), "upstream"),
        (event({"detail": "x", "object": "error"}), "x"),
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize("tokens", [0, 3])
def test_a_generation_that_failed_behind_a_200_fails(
    body: bytes, words: str, step: int, tokens: int
):
    pieces, (code, kept, text, usage) = read(said("a") * tokens + body + DONE, step, keep=True)
    assert len(pieces) == tokens
    assert (code, kept, usage) == (2, None, None)
    assert words in text


@pytest.mark.parametrize("nothing", [None, {}, "", {"code": None, "message": ""}, False, []])
def test_an_empty_error_in_good_chunks_is_none(nothing: Any):
    chunk = event({"choices": [{"delta": {"content": "a"}}], "error": nothing})
    assert read(chunk + STOP + DONE)[1] == (0, None, "", (1, -1, CountedBy.CHUNKS))


@pytest.mark.parametrize("body", [DONE, b"", used(5, 3) + DONE, event({"choices": None}) + DONE])
def test_a_stream_without_any_choice_is_no_answer(body: bytes):
    code, _, text, _ = read(body)[1]
    assert code == 13
    assert "no answer came" in text or "broke off" in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "boom"}}', "boom"),
        (b'{"object": "error", "message": "boom", "code": 500}', "boom"),
        (b"{}", "without choices"),
        (b"", "without choices"),
        (b'{"choices": []}', "without choices"),
        (b"<html>", "not an OpenAI answer"),
    ],
)
def test_a_whole_answer_without_an_answer_fails(body: bytes, words: str):
    code, _, text, _ = read_whole(body)
    assert code
    assert words in text


# ------------------------------------------------------------ odd JSON
@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (b'{"choices":[{"delta":{"content":"b"},"logprobs":{"x":[-Infinity,NaN]}}]}', "b"),
        (b'{"choices":[{"delta":{"content":"\xe4\xbd"}}]}', "\ufffd"),
        (b'{"choices":[{"delta":{"content":"b"},"finish_reason":""}]}', "b"),
        (b'{"choices":[{"delta":{"content":["b",{"text":"c"}]}}]}', "bc"),
        (b'{"choices":[{"delta":{"content":"b"},"index":"0"}],"id":7}', "b"),
        (b'{"choices": [\ndata:  {"delta": {"content": "b"}}\ndata: ]}', "b"),
    ],
)
def test_fields_that_nobody_needs_never_fail_a_request(chunk: bytes, text: str):
    body = b"data: " + chunk + b"\n\n" + STOP + DONE
    pieces, (code, kept, fault, _) = read(body, keep=True)
    assert (len(pieces), code, fault) == (1, 0, "")
    assert json.loads(kept)["text"] == text


def test_halves_of_a_character_in_two_chunks_are_one_character():
    halves = [
        b'data: {"choices":[{"delta":{"content":"\\u%s"}}]}\n\n' % h for h in (b"d83d", b"de00")
    ]
    _, (code, kept, _, usage) = read(b"".join(halves) + STOP + DONE, keep=True, count=len)
    assert (code, json.loads(kept)["text"]) == (0, "\U0001f600")
    assert usage == (1, -1, CountedBy.TOKENIZER)
    _, (code, kept, _, _) = read(halves[0] + STOP + DONE, keep=True)
    assert json.loads(kept)["text"] == "\ufffd"


@pytest.mark.parametrize("reason", [0, 7, {"type": "length", "length": 3}, "stop", True])
def test_a_finish_reason_may_be_anything(reason: Any):
    end = event({"choices": [{"delta": {"content": "a"}, "finish_reason": reason}]})
    _, (code, kept, _, _) = read(end, keep=True)
    assert code == 0
    assert json.loads(kept)["finish_reason"] == reason


@pytest.mark.parametrize(
    "end", [b"data: [DONE] \n\n", b"data:[DONE]\n\n", b"data: \t[DONE]\r\n\r\n"]
)
def test_the_end_mark_may_have_blanks_and_blank_data_is_nothing(end: bytes):
    _, (code, _, text, usage) = read(b"data:\n\n" + said("a") + b"data: \n\n" + end)
    assert (code, text, usage) == (0, "", (1, -1, CountedBy.CHUNKS))


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"7", b'{"choices": 5}', b"{", b"[" * 100_000])
def test_what_is_no_chunk_is_named(body: bytes):
    with pytest.raises(ChunkError, match="not an OpenAI answer"):
        read_chunk(body)


# ------------------------------------------------------------ what a piece is
def think(text: str) -> list[dict[str, Any]]:
    return [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"content": think("a")},
        {"content": [{"type": "text", "text": "a"}]},
        {"content": None, "reasoning_content": "a"},
        {"reasoning": "a"},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]},
        {"function_call": {"name": "f", "arguments": ""}},
        {"content": "", "reasoning_details": [{"text": "a"}]},
        {"audio": {"data": "AA=="}},
    ],
)
def test_output_of_every_field_is_a_piece(delta: dict[str, Any]):
    assert len(read(said(**delta) * 3 + STOP + DONE)[0]) == 3


@pytest.mark.parametrize(
    "delta",
    [{"role": "assistant", "content": ""}, {}, {"tool_calls": []}, {"content": []},
     {"content": [{"type": "thinking", "thinking": []}]}, {"content": None, "refusal": None}],
)  # fmt: skip
def test_what_has_no_output_is_no_piece(delta: dict[str, Any]):
    pieces, (code, _, _, usage) = read(said(**delta) + STOP + used(5, 24) + DONE)
    assert (pieces, code) == (b"", 0)
    assert usage == (24, 5, CountedBy.USAGE)  # its tokens count all the same


def test_choices_are_told_apart():
    chunk = event({"choices": [{"index": 0, "delta": {"content": "a"}},
                               {"index": 1, "delta": {"content": "b"}}]})  # fmt: skip
    far = event({"choices": [{"index": 9_999, "delta": {"content": "c"}}]})
    assert read(chunk + chunk + far + STOP + DONE)[0] == b"\0\1\0\1\xff"


# ------------------------------------------------------------ token counts
@pytest.mark.parametrize(
    ("told", "count"),
    [(3, 3), (3.0, 3), ("3", 3), ("3.0", 3), (0, 0), (COUNT_MAX, COUNT_MAX), (None, None),
     ("many", None), ([], None), (float("nan"), None), (True, None)],
)  # fmt: skip
def test_counts_come_in_any_spelling(told: Any, count: int | None):
    assert token_count({"n": told}, "n") == count
    assert token_count(told, "n") is None


@pytest.mark.parametrize(
    ("told", "words"),
    [(-5, "below 0"), (COUNT_MAX + 1, "above 2147483647"), (float("inf"), "above"),
     ("-1", "below 0"), (2.5, "no whole number"), (10**400, "above")],
)  # fmt: skip
def test_what_is_no_count_of_tokens_is_named(told: Any, words: str):
    with pytest.raises(UsageError, match=words):
        token_count({"n": told}, "n")


def test_an_answer_with_such_a_usage_fails_by_name():
    code, _, text, usage = read(said("a") + STOP + used(5, -15_695) + DONE)[1]
    assert (code, usage) == (13, None)
    assert text == "usage: completion_tokens is below 0, which is no count of tokens"
    code, _, text, _ = read(said("a") + STOP + used(2**40, 1) + DONE)[1]
    assert "prompt_tokens is above" in text


@pytest.mark.parametrize("usage", [{}, None, 7, "x", {"completion_tokens": {}}])
def test_a_usage_that_tells_nothing_leaves_the_pieces_to_count(usage: Any):
    body = said("a") * 4 + event({"choices": [], "usage": usage}) + STOP + DONE
    assert read(body)[1] == (0, None, "", (4, -1, CountedBy.CHUNKS))


# ------------------------------------------------------------ framing
def test_a_lone_cr_ends_its_line_at_once():
    reader = SseReader()
    assert reader.feed(b"data: a\r\r") == [b"a"]
    assert reader.feed(b"data: b\r\n\r") == [b"b"]
    assert reader.feed(b"\ndata: c\r\r\n") == [b"c"]
    assert reader.end() == []


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_a_byte_order_mark_is_no_part_of_the_first_line(step: int):
    body = b"\xef\xbb\xbfdata: a\n\ndata: b\n\n"
    reader = SseReader()
    found = [one for at in range(0, len(body), step) for one in reader.feed(body[at : at + step])]
    assert found == [b"a", b"b"]


def test_only_an_event_of_the_type_error_is_a_failure():
    reader = SseReader()
    found = reader.feed(
        b"event: ping\n\nevent: message\ndata: a\n\nevent: error\ndata: b\n\ndata: c\n\n"
    )
    assert found == [b"a", b"b", b"c"]
    assert [type(one) for one in found] == [bytes, ErrorEvent, bytes]


def test_an_event_that_never_ends_is_refused_whatever_it_is_made_of():
    for piece in (b"x" * 65_536, b"data: y\n" * 8_192, b": c\n" * 16_384):
        reader = SseReader()
        for _ in range(EVENT_BYTES_MAX // len(piece)):
            reader.feed(piece)
        with pytest.raises(ValueError, match="never ends"):
            reader.feed(piece)


def test_a_long_stream_of_events_cut_anywhere_is_no_such_event():
    reader = SseReader()
    body = b"data: " + b"z" * 50_000 + b"\n"
    count = sum(len(reader.feed(b"\n" + body)) for _ in range(2 * EVENT_BYTES_MAX // len(body)))
    assert count > 600


def test_a_complaint_has_no_control_characters():
    assert "\x1b" not in complaint(b'{"error": "\\u001b[31mred\\ud83d"}')
    assert complaint(b'{"error": "\\u001b[31mred"}') == "\ufffd[31mred"
