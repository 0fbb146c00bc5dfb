"""One answer of an OpenAI-style server: pieces with output, the usage, failures in its own words.

Sans I/O and without a clock: it says which choices what arrived has brought output of. Fields that
servers add are passed over. Chat and plain completions are read by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from loadgen_service.core.records.token_rows import CHOICE_MAX, UNKNOWN_COUNT, CountedBy
from loadgen_service.sut.http.sse import ErrorEvent, SseReader
from loadgen_service.sut.http.status import UNASKED, code_of, coding_of
from loadgen_service.sut.interface import NO_PIECES, Usage
from loadgen_service.sut.openai.chunk import Choice, Chunk, ChunkError, failure_of, read_chunk
from loadgen_service.sut.openai.usage import UsageError, token_count

CODE_UNKNOWN: Final = 2
CODE_INTERNAL: Final = 13

_END: Final = b"[DONE]"
_TEXT_LENGTH_MAX: Final = 300
"""Characters of a server's complaint that are kept."""

CountTokens = Callable[[str], int]

Ending = tuple[int, bytes | None, str, Usage | None]
"""Code, the answer as JSON (where kept), the failure's text, and the token counts."""


class OpenAiAnswer:
    """Reads one HTTP answer. ``count``: a tokenizer.

    ``keep``: give a JSON object at the end, with ``text``, ``finish_reason``, ``usage`` and
    ``timings`` (llama.cpp's own, where a server sends them). Of several choices ``text`` is the
    first one's, and ``texts`` has all.
    """

    __slots__ = (
        "_body",
        "_code",
        "_count",
        "_fault",
        "_finish_reason",
        "_has_choice",
        "_headers",
        "_is_ended",
        "_keep",
        "_needs_text",
        "_piece_count",
        "_sse",
        "_status",
        "_texts",
        "_timings",
        "_usage",
    )

    def __init__(self, keep: bool = False, count: CountTokens | None = None) -> None:
        self._keep = keep
        self._needs_text = keep or count is not None
        self._finish_reason: Any = None
        self._timings: Any = None
        self._count = count
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._sse: SseReader | None = None
        self._body: list[bytes] = []
        self._texts: dict[int, list[str]] = {}
        self._piece_count = 0
        self._usage: Any = None
        self._has_choice = False
        self._is_ended = False
        self._code = 0
        self._fault = ""

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head came. Names of ``headers`` are in lower case."""
        self._status = status
        self._headers = headers
        kind = headers.get(b"content-type", b"").strip().lower()
        if status == 200 and kind.startswith(b"text/event-stream"):
            self._sse = SseReader()

    def feed(self, data: bytes) -> bytes:
        """A part of the body came; the choice of each piece of output that it completed."""
        if self._sse is None:
            self._body.append(data)
            return NO_PIECES
        try:
            events = self._sse.feed(data)
        except ValueError as error:
            self._fail(CODE_INTERNAL, str(error))
            return NO_PIECES
        return self._take(events)

    def end(self) -> bytes:
        """The body is whole; as ``feed``, of its last bytes."""
        if self._sse is not None:
            # Half an event is no fault of its own: that the end is missing says it better.
            return self._take([data for data in self._sse.end() if _is_whole(data)])
        body = b"".join(self._body)
        if self._status != 200:
            self._fail(code_of(self._status), f"HTTP {self._status}: {complaint(body)}")
            return NO_PIECES
        pieces = self._take([body]) if body.strip() else NO_PIECES
        if not self._has_choice:
            self._fail(CODE_INTERNAL, f"an answer without choices: {complaint(body)}")
        self._is_ended = True
        return pieces

    def ending(self) -> Ending:
        """How the call ended; after ``end``."""
        if not self._code and not self._is_ended:
            self._fail(CODE_INTERNAL, "the stream broke off: neither finish_reason nor [DONE] came")
        if not self._code and not self._has_choice:
            self._fail(CODE_INTERNAL, "the stream ended without any choice: no answer came")
        texts = [_whole_text("".join(parts)) for _, parts in sorted(self._texts.items())]
        usage = None
        try:
            usage = None if self._code else self._usage_of(texts)
        except UsageError as error:
            self._fail(CODE_INTERNAL, str(error))
        if self._code:
            return self._code, None, self._failure(), None
        return 0, self._kept(texts) if self._keep else None, "", usage

    def _failure(self) -> str:
        """Why the call failed; of an answer that could not be read, how it was compressed."""
        coding = coding_of(self._headers)
        if not coding:
            return self._fault
        return f"HTTP {self._status}, compressed by {coding}, {UNASKED}"

    def _kept(self, texts: list[str]) -> bytes:
        said = {
            "text": texts[0] if texts else "",
            **({"texts": texts} if len(texts) > 1 else {}),
            "finish_reason": self._finish_reason,
            "usage": self._usage,
            "timings": self._timings,
        }
        try:
            return msgspec.json.encode(said)
        except (UnicodeEncodeError, RecursionError):  # only the odd ones among its own fields
            return msgspec.json.encode({**said, "usage": None, "timings": None})

    @property
    def is_failed(self) -> bool:
        """The server reported a failure within its answer."""
        return bool(self._code)

    def _usage_of(self, texts: list[str]) -> Usage:
        told = token_count(self._usage, "completion_tokens")
        known = token_count(self._usage, "prompt_tokens") or UNKNOWN_COUNT  # none is of no tokens
        # A server that does not count may say 0 of an answer that it sent (LitServe).
        if told or (told == 0 and not self._piece_count):
            return told, known, CountedBy.USAGE
        if self._count is not None:
            return sum(map(self._count, texts)), known, CountedBy.TOKENIZER
        return self._piece_count, known, CountedBy.CHUNKS

    def _take(self, events: list[bytes]) -> bytes:
        pieces = NO_PIECES
        for data in events:
            if type(data) is ErrorEvent:
                self._fail(CODE_UNKNOWN, complaint(data))
                continue
            if len(data) < 16 and (not (word := data.strip()) or word == _END):
                self._is_ended |= bool(word)
                continue
            try:
                pieces += self._take_chunk(read_chunk(data))
            except ChunkError as error:
                self._fail(CODE_INTERNAL, str(error))
        return pieces

    def _take_chunk(self, chunk: Chunk) -> bytes:
        failure = failure_of(chunk)
        if failure is not None:
            self._fail(CODE_UNKNOWN, in_words(failure))
            return NO_PIECES
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.timings is not None:
            self._timings = chunk.timings
        pieces = NO_PIECES
        for choice in chunk.choices or ():
            pieces += self._take_choice(choice)
        return pieces

    def _take_choice(self, choice: Choice) -> bytes:
        self._has_choice = True
        said = choice.delta or choice.message
        text = choice.text or (said.text() if said is not None else "")
        if choice.finish_reason is not None and choice.finish_reason != "":
            self._is_ended = True
            self._finish_reason = choice.finish_reason
        if not text and (said is None or not said.has_output()):
            return NO_PIECES
        self._piece_count += 1
        index = min(max(choice.index or 0, 0), CHOICE_MAX)
        if self._needs_text:
            self._texts.setdefault(index, []).append(text)
        return bytes((index,))

    def _fail(self, code: int, text: str) -> None:
        if not self._code:
            self._code, self._fault = code, text


def _is_whole(data: bytes) -> bool:
    return type(data) is ErrorEvent or data.strip() == _END or data.rstrip().endswith(b"}")


def _whole_text(text: str) -> str:
    """Halves of surrogate pairs that came in two chunks joined; single ones as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def complaint(body: bytes) -> str:
    """A server's own words out of an error's body, in one line."""
    text = body.decode(errors="replace")
    try:
        return in_words(json.loads(text))
    except (ValueError, RecursionError):
        return in_words(text)


def in_words(found: Any) -> str:
    """The words in an error's object, in one line without control characters."""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    if isinstance(found, dict):
        found = found.get("message") or found
    said = " ".join(_whole_text(str(found)).split())[:_TEXT_LENGTH_MAX]
    return "".join(char if char.isprintable() else "\ufffd" for char in said) or "no text"
