"""What one chunk of an OpenAI-style answer says, whatever form a server gave it.

Ordinary chunks are decoded by their types. Others are read field by field: JSON with ``NaN``,
halves of surrogate pairs or broken UTF-8, numbers or objects where a text was due. A field that no
figure needs never makes a chunk unreadable.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

FAILED_REASONS: Final = frozenset({"error", "abort"})
"""Finish reasons by which a server says that it gave the answer up (OpenRouter; vLLM, SGLang)."""

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)
_TEXT_KEYS: Final = ("text", "thinking", "content", "refusal")
_DEPTH_MAX: Final = 8


class Delta(msgspec.Struct):
    """What an answer says: text, a refusal, reasoning (three spellings), sound, a tool's call.

    ``content`` may be a list of parts (Mistral's thinking). ``function_call`` is the older form of
    ``tool_calls``.
    """

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None
    function_call: Any = None
    reasoning_details: list[msgspec.Raw] | None = None
    audio: Any = None

    def text(self) -> str:
        """The output as text; empty where it has none."""
        said = self.content or self.reasoning_content or self.reasoning or self.refusal
        return said if isinstance(said, str) else _text_of(said)

    def has_output(self) -> bool:
        """Whether it brought output that has no text."""
        return bool(self.tool_calls or self.function_call or self.reasoning_details or self.audio)


class Choice(msgspec.Struct):
    """One of the answers to one prompt; ``index`` tells them apart."""

    index: int | None = None
    text: str | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    error: Any = None


class Chunk(msgspec.Struct):
    """One event of a stream, or a whole answer. ``usage`` and failures are as the server sent."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    timings: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None


class ChunkError(ValueError):
    """These bytes are no chunk; the text says why."""


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """The chunk in ``data``. Raises ``ChunkError``."""
    try:
        return _decode(data)
    except _UNREADABLE as error:
        reason = str(error)
    except RecursionError:
        raise ChunkError("not an OpenAI answer: it is nested too deeply") from None
    try:
        found = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ChunkError(f"not an OpenAI answer: {reason}") from None
    if not isinstance(found, dict) or not isinstance(found.get("choices") or [], list):
        raise ChunkError(f"not an OpenAI answer: {reason}")
    return _chunk(found)


def _chunk(found: dict[str, Any]) -> Chunk:
    choices = found.get("choices")
    fields = {name: found.get(name) for name in Chunk.__struct_fields__ if name != "choices"}
    made = [_choice(one) for one in choices or () if isinstance(one, dict)]
    return Chunk(choices=made if choices is not None else None, **fields)


def _choice(found: dict[str, Any]) -> Choice:
    index = found.get("index")
    return Choice(
        index=index if isinstance(index, int) else None,
        text=_text(found.get("text")),
        delta=_delta(found.get("delta")),
        message=_delta(found.get("message")),
        finish_reason=found.get("finish_reason"),
        error=found.get("error"),
    )


def _delta(found: object) -> Delta | None:
    if not isinstance(found, dict):
        return None
    content = found.get("content")
    return Delta(
        content=content if isinstance(content, list) else _text(content),
        reasoning_content=_text(found.get("reasoning_content")),
        reasoning=_text(found.get("reasoning")),
        refusal=_text(found.get("refusal")),
        tool_calls=found.get("tool_calls"),
        function_call=found.get("function_call"),
        reasoning_details=found.get("reasoning_details"),
        audio=found.get("audio"),
    )


def _text(found: object) -> str | None:
    """A text as it is, halves of surrogate pairs included; anything else by its parts."""
    return None if found is None else _text_of(found)


def _text_of(found: object, depth: int = 0) -> str:
    """The text in a part of an answer: of a list its parts', of an object its texts'."""
    if isinstance(found, str):
        return found
    if depth >= _DEPTH_MAX:
        return ""
    if isinstance(found, list):
        return "".join(_text_of(one, depth + 1) for one in found)
    if isinstance(found, dict):
        return "".join(_text_of(found[key], depth + 1) for key in _TEXT_KEYS if key in found)
    return ""


def failure_of(chunk: Chunk) -> Any:
    """What a chunk reports as a failure; None where it reports none.

    ``{"error": ...}`` with something in it, vLLM's flat ``{"object": "error", "message": ...}``, a
    choice's own error, and a finish reason that says that the answer was given up.
    """
    if _is_told(chunk.error):
        return {"error": chunk.error, "message": chunk.message}
    if chunk.object == "error":
        return {"message": chunk.message or chunk.detail or 'an object "error" without a message'}
    for choice in chunk.choices or ():
        if _is_told(choice.error):
            return {"error": choice.error}
        reason = choice.finish_reason
        kind = reason.get("type") if isinstance(reason, dict) else reason
        if isinstance(kind, str) and kind in FAILED_REASONS:
            said = reason.get("message") if isinstance(reason, dict) else None
            return {"message": f"the server gave the answer up: finish_reason {kind}"
                    + (f", {said}" if said else "")}  # fmt: skip
    return None


def _is_told(error: object) -> bool:
    """Whether there is something in it: some servers send an empty ``error`` with good chunks."""
    return any(_is_told(one) for one in error.values()) if isinstance(error, dict) else bool(error)
