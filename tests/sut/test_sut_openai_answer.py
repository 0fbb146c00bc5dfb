"""Answers of OpenAI-style servers: pieces, usage, ends and failures, however the bytes are cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen_service.core.records.token_rows import CountedBy
from loadgen_service.sut.http.sse import SseReader
from loadgen_service.sut.openai.response import OpenAiAnswer, complaint

STREAMS = Path(__file__).parent.parent / "data" / "sse"
SSE = {b"content-type": b"text/event-stream; charset=utf-8"}
TEXT = " The answer is 42."
TEXTS = {
    "vllm-0.32-chat": "The capital of France is Paris",
    "vllm-0.32-completions-n2": " Paris, capital of Europe.",
    "vllm-0.32-logprobs": "Hello! I'm",
    "vllm-0.32-tools": "Paris, the City of Light, the City of Light. It's a weather phenomenon, a "
    "weather phenomenon.<|im_end|>\n",
    "vllm-0.32-tool-named": "",
}
"""Of streams that were recorded; the others, written by hand, say ``TEXT``."""

# file -> pieces, (output tokens, input tokens, counted by)
EXPECTED = {
    "vllm-0.32-chat": (6, (6, 37, CountedBy.USAGE)),
    "vllm-0.32-completions-n2": (12, (12, 5, CountedBy.USAGE)),
    "vllm-0.32-logprobs": (4, (4, 34, CountedBy.USAGE)),
    "vllm-0.32-tools": (24, (24, 38, CountedBy.USAGE)),
    "vllm-0.32-tool-named": (4, (40, 31, CountedBy.USAGE)),
    "vllm-chat": (5, (6, 12, CountedBy.USAGE)),
    "vllm-chat-usage-in-every-chunk": (5, (5, 12, CountedBy.USAGE)),
    "vllm-chat-reasoning": (5, (6, 12, CountedBy.USAGE)),
    "vllm-completions": (5, (5, 12, CountedBy.USAGE)),
    "sglang-chat": (5, (6, 12, CountedBy.USAGE)),
    "sglang-completions": (5, (5, 12, CountedBy.USAGE)),
    "tgi-chat": (5, (6, 12, CountedBy.USAGE)),
    "tgi-completions": (5, (5, 12, CountedBy.USAGE)),
    "tgi-chat-without-usage": (5, (5, -1, CountedBy.CHUNKS)),
    "triton-openai-chat": (5, (5, -1, CountedBy.CHUNKS)),
}


def read(body: bytes, step: int, **given):
    answer = OpenAiAnswer(keep=True, **given)
    answer.begin(200, SSE)
    pieces = [answer.feed(body[at : at + step]) for at in range(0, len(body), step)]
    return len(b"".join(pieces) + answer.end()), answer.ending()


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_every_server_s_stream_is_read_alike(name: str, line_end: bytes, step: int):
    body = (STREAMS / f"{name}.sse").read_bytes().replace(b"\n", line_end)
    pieces, (code, text, fault, usage) = read(body, step)
    assert (pieces, usage) == EXPECTED[name]
    assert (code, fault) == (0, "")
    assert json.loads(text)["text"] == TEXTS.get(name, TEXT)


@pytest.mark.parametrize(("name", "prompt"), [("chat", 33), ("completions", 5)])
def test_a_recorded_stream_of_llama_cpp_with_its_own_timings(name: str, prompt: int):
    body = (STREAMS / f"llama-cpp-{name}.sse").read_bytes()
    pieces, (code, text, _, usage) = read(body, 64)
    assert (pieces, code, usage) == (6, 0, (6, prompt, CountedBy.USAGE))
    kept = json.loads(text)
    assert (kept["finish_reason"], kept["timings"]["predicted_n"]) == ("length", 6)


def test_a_call_of_a_tool_counts_though_it_has_no_text():
    pieces, (code, _, _, usage) = read((STREAMS / "tool-call-chat.sse").read_bytes(), 50)
    assert (pieces, code, usage) == (3, 0, (9, 5, CountedBy.USAGE))


def test_an_error_within_the_stream_fails_the_call():
    pieces, (code, text, fault, usage) = read(
        (STREAMS / "vllm-chat-error-midway.sse").read_bytes(), 40
    )
    assert (pieces, code, text, usage) == (1, 2, None, None)
    assert fault == "EngineCore encountered an issue"


def test_a_stream_that_breaks_off_is_a_failure_and_a_missing_done_is_none():
    body = (STREAMS / "vllm-chat.sse").read_bytes()
    _, (code, _, fault, _) = read(body[: body.index(b" 42")], 64)
    assert code == 13
    assert "broke off" in fault
    _, (code, _, _, usage) = read(body.replace(b"data: [DONE]\n\n", b""), 64)
    assert (code, usage) == (0, (6, 12, CountedBy.USAGE))


def test_a_tokenizer_counts_only_where_the_server_does_not():
    body = (STREAMS / "tgi-chat-without-usage.sse").read_bytes()
    _, (_, _, _, usage) = read(body, 64, count=len)
    assert usage == (len(TEXT), -1, CountedBy.TOKENIZER)
    _, (_, _, _, usage) = read((STREAMS / "tgi-chat.sse").read_bytes(), 64, count=len)
    assert usage == (6, 12, CountedBy.USAGE)


def test_an_answer_in_one_piece_is_one_piece():
    answer = OpenAiAnswer()
    answer.begin(200, {b"content-type": b"application/json"})
    whole = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    assert answer.feed(json.dumps(whole).encode()) == b""
    assert answer.end() == b"\0"
    assert answer.ending() == (0, None, "", (2, 3, CountedBy.USAGE))


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (429, b'{"error": {"message": "slow down", "code": 429}}', 8, "HTTP 429: slow down"),
        (404, b'{"object": "error", "message": "no such model"}', 5, "HTTP 404: no such model"),
        (422, b'{"detail": "bad\\nfield"}', 3, "HTTP 422: bad field"),
        (503, b"<html>later</html>", 14, "HTTP 503: <html>later</html>"),
        (418, b"", 2, "HTTP 418: no text"),
    ],
)
def test_a_refusal_becomes_a_code_and_the_server_s_own_line(status, body, code, text):
    answer = OpenAiAnswer()
    answer.begin(status, {b"content-type": b"application/json"})
    answer.feed(body)
    answer.end()
    assert answer.ending() == (code, None, text, None)


def test_what_is_no_openai_answer_is_named():
    _, (code, _, fault, _) = read(b'data: {"choices": 5}\n\n', 100)
    assert code == 13
    assert "not an OpenAI answer" in fault
    assert complaint(b"\xff\xfe")


def test_events_follow_the_grammar():
    reader = SseReader()
    assert reader.feed(b": ping\n\nevent: x\ndata:a\ndata: b\nid: 1\n\n") == [b"a\nb"]
    assert reader.feed(b"data: half") == []
    assert reader.feed(b" way\r") == []
    assert reader.feed(b"\n\r\ndata: next\n\n") == [b"half way", b"next"]
    assert reader.feed(b"data: last") == []
    assert reader.end() == [b"last"]


def test_a_usage_of_nothing_beside_output_is_no_count():
    chunk = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n'
    _, (_, _, _, told) = read(chunk * 3 + usage + b"data: [DONE]\n\n", 64)
    assert told == (3, -1, CountedBy.CHUNKS)
    silent = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    _, (_, _, _, told) = read(silent + usage + b"data: [DONE]\n\n", 64)
    assert told == (0, -1, CountedBy.USAGE)
