"""OpenAI's completions and chat completions over the synthetic token streams.

Says in known words, at known instants, as many tokens as were drawn (or fewer, if the caller asks
for fewer): a server whose truth a client can be compared with. Knows no socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from sut_server.engines.token_engine import SYNTHETIC_STREAM
from sut_server.engines.token_source import RunningStream, TokenSource
from sut_server.http.connection import JSON_BYTES_MAX, HttpCall, HttpRequest, error_object

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream; charset=utf-8"
_DONE: Final = b"data: [DONE]\n\n"
_FAULT: Final = "injected error (sut-server --error-rate)"


_MODEL: Final = {
    "id": SYNTHETIC_STREAM,
    "object": "model",
    "created": 0,
    "owned_by": "sut-server",
}

PROMPTS_MAX: Final = 1_024
"""In one request."""


class BadRequest(Exception):
    """A request that is answered with an HTTP status and one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for. ``chat``: which of the two shapes its answer has."""

    chat: bool
    streamed: bool
    with_usage: bool
    max_tokens: int | None
    prompt_tokens: tuple[int, ...]
    """Of each prompt: each gets a choice of its own."""


class OpenAiApi:
    """Answers HTTP requests; ``api_key`` "" lets everybody in."""

    def __init__(self, source: TokenSource, api_key: str = "") -> None:
        self._source = source
        self._api_key = api_key
        self._count = 0

    def handle(self, call: HttpCall, request: HttpRequest) -> None:
        """Answer one request, now or later."""
        try:
            self._route(call, request)
        except BadRequest as error:
            call.respond(error.status, _JSON, error_object(error.status, str(error)))

    def _route(self, call: HttpCall, request: HttpRequest) -> None:
        path = request.path.partition("?")[0]
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            raise BadRequest(401, "the API key is wrong or missing")
        if path == "/health":
            call.respond(200, _JSON, b"{}")
        elif path == "/v1/models":
            call.respond(200, _JSON, json.dumps({"object": "list", "data": [_MODEL]}).encode())
        elif path.startswith("/v1/models/"):
            name = unquote(path.removeprefix("/v1/models/"))
            if name != SYNTHETIC_STREAM:
                raise _no_model(name)
            call.respond(200, _JSON, json.dumps(_MODEL).encode())
        elif path in ("/v1/chat/completions", "/v1/completions"):
            if request.method != "POST":
                raise BadRequest(405, f"{path} wants POST")
            self._complete(call, request, read_wish(request.body, path == "/v1/chat/completions"))
        else:
            raise BadRequest(404, f"there is no {path} here")

    def _complete(self, call: HttpCall, request: HttpRequest, wish: Wish) -> None:
        self._count += 1
        words = Words(f"cmpl-{self._count}", wish)
        answer: _Answer = (_Streamed if wish.streamed else _Whole)(call, words)
        running: list[RunningStream] = []

        def leave() -> None:
            for stream in running:
                stream.cancel()

        def fail() -> None:
            leave()
            answer.fail()

        call.on_gone = leave
        for index in range(len(wish.prompt_tokens)):
            give = partial(answer.give, index)
            running.append(self._source.begin(request.received_ns, give, fail, wish.max_tokens))
            words.is_cut.append(len(running[-1].offsets_ns) == wish.max_tokens)


class _Answer:
    """The answer to one request, made as the tokens of its choices come."""

    def __init__(self, call: HttpCall, words: Words) -> None:
        self._call = call
        self._words = words
        self._counts: dict[int, int] = {}
        """Tokens of each choice that has ended."""

    def give(self, index: int, number: int, is_last: bool) -> None:
        """A token of a choice."""
        raise NotImplementedError

    def fail(self) -> None:
        """An injected error, in place of a choice's first token."""
        self._call.respond(500, _JSON, error_object(500, _FAULT))

    def _end(self, index: int, count: int) -> bool:
        """A choice has ended; True if all have."""
        self._counts[index] = count
        return len(self._counts) == self._words.choice_count


class _Streamed(_Answer):
    """Server-sent events: one chunk a token."""

    _has_begun = False

    def give(self, index: int, number: int, is_last: bool) -> None:
        words = self._words
        data = words.piece(number, index)
        if number == 0:
            if not self._has_begun:
                self._has_begun = True
                self._call.begin(_SSE)
            data = words.opening(index) + data
        if not is_last:
            self._call.send(data)
            return
        data += words.closing(index)
        is_whole = self._end(index, number + 1)
        if is_whole:
            data += words.usage(sum(self._counts.values())) + _DONE
        self._call.send(data)
        if is_whole:
            self._call.end()

    def fail(self) -> None:
        if not self._has_begun:
            super().fail()
            return
        self._call.send(b"data: " + error_object(500, _FAULT) + b"\n\n" + _DONE)
        self._call.end()


class _Whole(_Answer):
    """One JSON object at the end."""

    def give(self, index: int, number: int, is_last: bool) -> None:
        if is_last and self._end(index, number + 1):
            self._call.respond(200, _JSON, self._words.whole(self._counts))


def read_wish(body: bytes, chat: bool) -> Wish:
    """What a request's body asks for. Raises BadRequest."""
    if len(body) > JSON_BYTES_MAX:
        raise BadRequest(413, f"{len(body)} bytes of JSON, at most {JSON_BYTES_MAX} are taken")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(400, "the body is not JSON") from None
    if not isinstance(asked, dict):
        raise BadRequest(400, "the body is no JSON object")
    if asked.get("model") != SYNTHETIC_STREAM:
        raise _no_model(asked.get("model"))
    prompt_tokens = (_chat_tokens(asked),) if chat else _prompt_tokens(asked.get("prompt"))
    options = asked.get("stream_options") or {}
    limit = asked.get("max_completion_tokens", asked.get("max_tokens"))
    if limit is not None and (type(limit) is not int or limit < 1):
        raise BadRequest(400, f"max_tokens is a whole number above 0, not {limit!r}")
    return Wish(
        chat=chat,
        streamed=bool(asked.get("stream")),
        with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        max_tokens=limit,
        prompt_tokens=prompt_tokens,
    )


def _no_model(name: object) -> BadRequest:
    return BadRequest(404, f"no model {name!r} here; there is {SYNTHETIC_STREAM}")


def _prompt_tokens(prompt: Any) -> tuple[int, ...]:
    """Tokens of each prompt: text (its words), token ids, or a list of either."""
    if isinstance(prompt, str):
        return (len(prompt.split()),)
    if isinstance(prompt, list) and prompt:
        if all(type(one) is int for one in prompt):
            return (len(prompt),)
        if len(prompt) > PROMPTS_MAX:
            raise BadRequest(400, f"{len(prompt)} prompts, at most {PROMPTS_MAX} are taken")
        if all(isinstance(one, str) for one in prompt):
            return tuple(len(one.split()) for one in prompt)
        if all(_is_token_ids(one) for one in prompt):
            return tuple(len(one) for one in prompt)
    raise BadRequest(400, "prompt must be text, a list of texts, token ids, or a list of those")


def _is_token_ids(one: Any) -> bool:
    return isinstance(one, list) and bool(one) and all(type(number) is int for number in one)


def _chat_tokens(asked: dict[str, Any]) -> int:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest(400, "messages must be a list of at least one message")
    words = " ".join(str(one.get("content")) for one in messages if isinstance(one, dict))
    return len(words.split())


class Words:
    """The JSON of one answer, in vLLM's shapes. A token's text is its number."""

    def __init__(self, name: str, wish: Wish) -> None:
        self._wish = wish
        self.choice_count = len(wish.prompt_tokens)
        self.is_cut: list[bool] = []
        """Of each choice: ``max_tokens`` ended it."""
        kind = "chat.completion" if wish.chat else "text_completion"
        self._fields = {"id": name, "object": kind, "created": 0, "model": SYNTHETIC_STREAM}
        chunk_kind = "chat.completion.chunk" if wish.chat else kind
        self._chunk_fields = self._fields | {"object": chunk_kind}
        empty = '{"content":"%d "}' if wish.chat else '"%d "'
        name = '"delta":' if wish.chat else '"text":'
        head = json.dumps(self._chunk_fields)[:-1].replace("%", "%%")
        self._piece = (
            f'data: {head}, "choices":[{{"index":%d,{name}{empty},"finish_reason":null}}]}}\n\n'
        )

    def opening(self, index: int) -> bytes:
        """The chunk before a choice's first token: a chat's role, nothing else."""
        if not self._wish.chat:
            return b""
        role = {"role": "assistant", "content": ""}
        return self._chunk(index, {"delta": role, "finish_reason": None})

    def piece(self, number: int, index: int = 0) -> bytes:
        """One token."""
        return (self._piece % (index, number)).encode()

    def closing(self, index: int) -> bytes:
        """Why a choice ended."""
        said: dict[str, object] = {"delta": {}} if self._wish.chat else {"text": ""}
        return self._chunk(index, said | {"finish_reason": self._reason(index)})

    def usage(self, count: int) -> bytes:
        """The usage, if it was asked for."""
        if not self._wish.with_usage:
            return b""
        last = self._chunk_fields | {"choices": [], "usage": self._usage(count)}
        return b"data: " + json.dumps(last).encode() + b"\n\n"

    def whole(self, counts: Mapping[int, int]) -> bytes:
        """The answer in one piece; ``counts``: tokens by choice."""
        choices = [self._choice(index, counts[index]) for index in sorted(counts)]
        usage = self._usage(sum(counts.values()))
        return json.dumps(self._fields | {"choices": choices, "usage": usage}).encode()

    def _choice(self, index: int, count: int) -> dict[str, object]:
        text = "".join(f"{number} " for number in range(count))
        message = {"role": "assistant", "content": text}
        said: dict[str, object] = {"message": message} if self._wish.chat else {"text": text}
        return {"index": index} | said | {"finish_reason": self._reason(index)}

    def _chunk(self, index: int, choice: dict[str, object]) -> bytes:
        chunk = self._chunk_fields | {"choices": [{"index": index} | choice]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def _reason(self, index: int) -> str:
        return "length" if self.is_cut[index] else "stop"

    def _usage(self, count: int) -> dict[str, int]:
        prompt = sum(self._wish.prompt_tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": count,
            "total_tokens": prompt + count,
        }
