"""OpenAI's completions and chat completions over the synthetic token streams.

Says in known words, at known instants, as many tokens as were drawn (or fewer, if the caller asks
for fewer): a server whose truth a client can be compared with. Knows no socket.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sut_server.engines.token_engine import SYNTHETIC_STREAM
from sut_server.engines.token_source import TokenSource
from sut_server.http.connection import HttpCall, HttpRequest

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream; charset=utf-8"
_DONE: Final = b"data: [DONE]\n\n"
_FAULT: Final = "injected error (sut-server --error-rate)"


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
    prompt_tokens: int


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
            fault = {"error": {"message": str(error), "code": error.status}}
            call.respond(error.status, _JSON, json.dumps(fault).encode())

    def _route(self, call: HttpCall, request: HttpRequest) -> None:
        path = request.path.partition("?")[0]
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            raise BadRequest(401, "the API key is wrong or missing")
        if path == "/health":
            call.respond(200, _JSON, b"{}")
        elif path == "/v1/models":
            model = {"id": SYNTHETIC_STREAM, "object": "model", "owned_by": "sut-server"}
            call.respond(200, _JSON, json.dumps({"object": "list", "data": [model]}).encode())
        elif path in ("/v1/chat/completions", "/v1/completions"):
            if request.method != "POST":
                raise BadRequest(405, f"{path} wants POST")
            self._complete(call, request, read_wish(request.body, path == "/v1/chat/completions"))
        else:
            raise BadRequest(404, f"there is no {path} here")

    def _complete(self, call: HttpCall, request: HttpRequest, wish: Wish) -> None:
        self._count += 1
        words = Words(f"cmpl-{self._count}", wish)
        give = self._streamed(call, words) if wish.streamed else self._whole(call, words)

        def fail() -> None:
            call.respond(500, _JSON, json.dumps({"error": {"message": _FAULT}}).encode())

        running = self._source.begin(request.received_ns, give, fail, wish.max_tokens)
        words.is_cut = len(running.offsets_ns) == wish.max_tokens
        call.on_gone = running.cancel

    def _streamed(self, call: HttpCall, words: Words) -> Callable[[int, bool], None]:
        def give(number: int, is_last: bool) -> None:
            data = words.piece(number)
            if number == 0:
                call.begin(_SSE)
                data = words.opening() + data
            if is_last:
                data += words.closing(number + 1) + _DONE
            call.send(data)
            if is_last:
                call.end()

        return give

    def _whole(self, call: HttpCall, words: Words) -> Callable[[int, bool], None]:
        def give(number: int, is_last: bool) -> None:
            if is_last:
                call.respond(200, _JSON, words.whole(number + 1))

        return give


def read_wish(body: bytes, chat: bool) -> Wish:
    """What a request's body asks for. Raises BadRequest."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(400, "the body is not JSON") from None
    if not isinstance(asked, dict):
        raise BadRequest(400, "the body is no JSON object")
    if asked.get("model") != SYNTHETIC_STREAM:
        raise BadRequest(404, f"no model {asked.get('model')!r} here; there is {SYNTHETIC_STREAM}")
    text = _prompt(asked, chat)
    options = asked.get("stream_options") or {}
    limit = asked.get("max_completion_tokens", asked.get("max_tokens"))
    if limit is not None and (type(limit) is not int or limit < 1):
        raise BadRequest(400, f"max_tokens is a whole number above 0, not {limit!r}")
    return Wish(
        chat=chat,
        streamed=bool(asked.get("stream")),
        with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        max_tokens=limit,
        prompt_tokens=len(text.split()),
    )


def _prompt(asked: dict[str, Any], chat: bool) -> str:
    if not chat:
        prompt = asked.get("prompt")
        if not isinstance(prompt, str):
            raise BadRequest(400, "prompt must be text")
        return prompt
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest(400, "messages must be a list of at least one message")
    return " ".join(str(one.get("content")) for one in messages if isinstance(one, dict))


class Words:
    """The JSON of one answer, in vLLM's shapes. A token's text is its number."""

    def __init__(self, name: str, wish: Wish) -> None:
        self._wish = wish
        self.is_cut = False
        kind = "chat.completion" if wish.chat else "text_completion"
        self._fields = {"id": name, "object": kind, "created": 0, "model": SYNTHETIC_STREAM}
        chunk_kind = "chat.completion.chunk" if wish.chat else kind
        self._chunk_fields = self._fields | {"object": chunk_kind}
        empty = '{"content":"%d "}' if wish.chat else '"%d "'
        name = '"delta":' if wish.chat else '"text":'
        head = json.dumps(self._chunk_fields)[:-1].replace("%", "%%")
        self._piece = (
            f'data: {head}, "choices":[{{"index":0,{name}{empty},"finish_reason":null}}]}}\n\n'
        )

    def opening(self) -> bytes:
        """The chunk before the first token: a chat's role, nothing else."""
        if not self._wish.chat:
            return b""
        return self._chunk({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})

    def piece(self, number: int) -> bytes:
        """One token."""
        return (self._piece % number).encode()

    def closing(self, count: int) -> bytes:
        """Why it ended, and the usage if it was asked for."""
        said: dict[str, object] = {"delta": {}} if self._wish.chat else {"text": ""}
        data = self._chunk(said | {"finish_reason": self._reason()})
        if self._wish.with_usage:
            last = self._chunk_fields | {"choices": [], "usage": self._usage(count)}
            data += b"data: " + json.dumps(last).encode() + b"\n\n"
        return data

    def whole(self, count: int) -> bytes:
        """The answer in one piece."""
        text = "".join(f"{number} " for number in range(count))
        message = {"role": "assistant", "content": text}
        said: dict[str, object] = {"message": message} if self._wish.chat else {"text": text}
        choice = {"index": 0} | said | {"finish_reason": self._reason()}
        answer = self._fields | {"choices": [choice], "usage": self._usage(count)}
        return json.dumps(answer).encode()

    def _chunk(self, choice: dict[str, object]) -> bytes:
        chunk = self._chunk_fields | {"choices": [{"index": 0} | choice]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def _reason(self) -> str:
        return "length" if self.is_cut else "stop"

    def _usage(self, count: int) -> dict[str, int]:
        prompt = self._wish.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": count,
            "total_tokens": prompt + count,
        }
