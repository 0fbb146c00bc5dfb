"""OpenAI-style requests as ready bytes: the head of a connection's requests, and each body.

A body is the sample's own fields with those that all requests share; it is made before the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loadgen_service.errors import SettingsError
from loadgen_service.sut.interface import Parts

PATHS: Final = {"chat": "/chat/completions", "completions": "/completions"}


def request_head(
    path: str, authority: str, headers: Sequence[tuple[str, str]], accept: str
) -> bytes:
    """Everything before a request's own header lines."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {authority}",
        "Content-Type: application/json",
        f"Accept: {accept}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def common_fields(model: str, streaming: bool, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What every body carries, before a sample's own fields; null takes a field out."""
    fields: dict[str, Any] = {"model": model}
    if streaming:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return fields | dict(parameters)


def smallest_sample(api: str) -> dict[str, Any]:
    """A prompt of one word, for a request that only asks whether a model is there."""
    if api == "completions":
        return {"prompt": "Hi"}
    return {"messages": [{"role": "user", "content": "Hi"}]}


class OpenAiBuilder:
    """Bodies of one run. ``sample_of(index)`` gives a sample's JSON object."""

    def __init__(
        self, common: Mapping[str, Any], sample_of: Callable[[int], Sequence[bytes | memoryview]]
    ) -> None:
        self._common = common
        self._sample_of = sample_of

    def build(self, samples: Sequence[int]) -> Parts:
        """The request's own header lines and its body; one sample a request."""
        if len(samples) > 1:
            raise SettingsError("samples_per_request: a prompt cannot share a request; use 1")
        own = json.loads(bytes(self._sample_of(samples[0])[0]))
        fields = {**own, **self._common}
        kept = {name: value for name, value in fields.items() if value is not None}
        try:
            body = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
            body = json.dumps(kept, separators=(",", ":")).encode()
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
