"""One answer of an OpenAI-style server: pieces with output, the usage, failures in its own words.

Sans I/O and without a clock: it says how many pieces what arrived has brought. Fields that servers
add are passed over; both of the protocol's shapes (chat and plain completions) are read alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from loadgen_service.core.records.token_rows import UNKNOWN_COUNT, CountedBy
from loadgen_service.sut.http.sse import SseReader
from loadgen_service.sut.http.status import UNASKED, code_of, coding_of
from loadgen_service.sut.interface import Usage

CODE_UNKNOWN: Final = 2
CODE_INTERNAL: Final = 13

_END: Final = b"[DONE]"
_TEXT_LENGTH_MAX: Final = 300
"""Characters of a server's complaint that are kept."""


class _Delta(msgspec.Struct):
    """What a chat answer says: text, reasoning (two spellings are in use), or a call of a tool."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[msgspec.Raw] | None = None

    def text(self) -> str:
        return self.content or self.reasoning_content or self.reasoning or ""


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    timings: Any = None


_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a server's bytes may make the JSON reader raise."""

_decode = msgspec.json.Decoder(_Chunk).decode

CountTokens = Callable[[str], int]

Ending = tuple[int, bytes | None, str, Usage | None]
"""Code, the answer as JSON (where kept), the failure's text, and the token counts."""


class OpenAiAnswer:
    """Reads one HTTP answer. ``count``: a tokenizer.

    ``keep``: give a JSON object at the end, with ``text``, ``finish_reason``, ``usage`` and
    ``timings`` (llama.cpp's own, where a server sends them).
    """

    __slots__ = (
        "_body",
        "_code",
        "_count",
        "_fault",
        "_finish_reason",
        "_headers",
        "_is_ended",
        "_keep",
        "_needs_text",
        "_pieces",
        "_sse",
        "_status",
        "_texts",
        "_timings",
        "_usage",
    )

    def __init__(self, keep: bool = False, count: CountTokens | None = None) -> None:
        self._keep = keep
        self._needs_text = keep or count is not None
        self._finish_reason: str | None = None
        self._timings: Any = None
        self._count = count
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._sse: SseReader | None = None
        self._body: list[bytes] = []
        self._texts: list[str] = []
        self._pieces = 0
        self._usage: _Usage | None = None
        self._is_ended = False
        self._code = 0
        self._fault = ""

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head came. Names of ``headers`` are in lower case."""
        self._status = status
        self._headers = headers
        if status == 200 and headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._sse = SseReader()

    def feed(self, data: bytes) -> int:
        """A part of the body came; how many pieces with output it completed."""
        if self._sse is None:
            self._body.append(data)
            return 0
        try:
            events = self._sse.feed(data)
        except ValueError as error:
            self._fail(CODE_INTERNAL, str(error))
            return 0
        return self._take(events)

    def end(self) -> int:
        """The body is whole; how many pieces its last bytes brought."""
        if self._sse is not None:
            # Half an event is no fault of its own: that the end is missing says it better.
            return self._take([data for data in self._sse.end() if _is_whole(data)])
        body = b"".join(self._body)
        if self._status != 200:
            self._fail(code_of(self._status), f"HTTP {self._status}: {complaint(body)}")
            return 0
        pieces = self._take([body])
        self._is_ended = True
        return pieces

    def ending(self) -> Ending:
        """How the call ended; after ``end``."""
        if not self._code and not self._is_ended:
            self._fail(CODE_INTERNAL, "the stream broke off: neither finish_reason nor [DONE] came")
        if self._code:
            return self._code, None, self._failure(), None
        text = "".join(self._texts)
        return 0, self._kept(text) if self._keep else None, "", self._usage_of(text)

    def _failure(self) -> str:
        """Why the call failed; of an answer that could not be read, how it was compressed."""
        coding = coding_of(self._headers)
        if not coding:
            return self._fault
        return f"HTTP {self._status}, compressed by {coding}, {UNASKED}"

    def _kept(self, text: str) -> bytes:
        return msgspec.json.encode(
            {
                "text": text,
                "finish_reason": self._finish_reason,
                "usage": self._usage,
                "timings": self._timings,
            }
        )

    @property
    def is_failed(self) -> bool:
        """The server reported a failure within its answer."""
        return bool(self._code)

    def _usage_of(self, text: str) -> Usage:
        told = self._usage or _Usage()
        known = told.prompt_tokens or UNKNOWN_COUNT  # no prompt is of no tokens
        # A server that does not count may say 0 of an answer that it sent (LitServe).
        if told.completion_tokens or (told.completion_tokens == 0 and not self._pieces):
            return told.completion_tokens, known, CountedBy.USAGE
        if self._count is not None:
            return self._count(text), known, CountedBy.TOKENIZER
        return self._pieces, known, CountedBy.CHUNKS

    def _take(self, events: list[bytes]) -> int:
        before = self._pieces
        for data in events:
            if data == _END:
                self._is_ended = True
                continue
            try:
                self._take_chunk(_decode(data))
            except _UNREADABLE as error:
                self._fail(CODE_INTERNAL, f"not an OpenAI answer: {error}")
        return self._pieces - before

    def _take_chunk(self, chunk: _Chunk) -> None:
        if chunk.error:
            self._fail(CODE_UNKNOWN, complaint(msgspec.json.encode({"error": chunk.error})))
            return
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.timings is not None:
            self._timings = chunk.timings
        for choice in chunk.choices or ():
            said = choice.delta or choice.message
            text = choice.text or (said.text() if said is not None else "")
            if text or (said is not None and said.tool_calls):
                self._pieces += 1
                if self._needs_text:
                    self._texts.append(text)
            if choice.finish_reason:
                self._is_ended = True
                self._finish_reason = choice.finish_reason

    def _fail(self, code: int, text: str) -> None:
        if not self._code:
            self._code, self._fault = code, text


def _is_whole(data: bytes) -> bool:
    return data == _END or data.rstrip().endswith(b"}")


def complaint(body: bytes) -> str:
    """A server's own words out of an error's body, in one line."""
    try:
        found = msgspec.json.decode(body)
    except _UNREADABLE:
        found = body.decode(errors="replace")
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    if isinstance(found, dict):
        found = found.get("message") or found
    return " ".join(str(found).split())[:_TEXT_LENGTH_MAX] or "no text"
