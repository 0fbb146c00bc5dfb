"""Prompts of language models: from a JSON Lines file, or made to a distribution of lengths.

A sample is the request's own part of the body as JSON: ``prompt`` or ``messages``, and whatever
else belongs to that request alone. Model, streaming and parameters for all come later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.qsl.sources.lengths import Lengths, parse_lengths
from loadgen_service.qsl.tensors import Array, TensorSpec

BODY_SPEC: Final = TensorSpec("request", "UINT8", (-1,))
DEFAULT_COUNT: Final = 1024
DEFAULT_OUTPUT_TOKENS: Final = 128

OUTPUT_LENGTHS: Final = ("output_length", "output_tokens")
"""Fields for the length of an answer: Mooncake's traces, and vLLM's own data sets (bench serve)."""

NOT_FOR_THE_SERVER: Final = frozenset(
    {"timestamp", "input_length", *OUTPUT_LENGTHS, "hash_ids", "label", "text"}
)
"""Fields of a line that describe it and are not sent."""

_COMMON_WORDS: Final = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work number night "
    "point home water room mother area money story fact month lot right study book eye job word "
    "business issue side kind head house service friend father power hour game line end member law "
    "car city name team minute idea body back parent face level door health person art war party"
)
WORDS: Final = tuple(_COMMON_WORDS.split())
"""Common words: a token each in nearly every vocabulary, with the space before."""

_WORD_STREAM: Final = 0
_INPUT_STREAM: Final = 1
_OUTPUT_STREAM: Final = 2


def open_prompts(settings: Settings) -> Prompts:
    """The prompts of ``--dataset``: random, or a ``.jsonl``. Raises UserError with one line."""
    output = (
        parse_lengths("output_tokens", settings.output_tokens) if settings.output_tokens else None
    )
    chat = settings.openai_api == "chat"
    if settings.dataset == "random":
        return _made(settings, output, chat)
    path = Path(settings.dataset)
    if path.suffix.lower() != ".jsonl":
        raise UserError(
            f"dataset: {settings.dataset!r}: an openai SUT takes random (made prompts) or a .jsonl"
        )
    lines = _read_lines(path)
    requests = [_request(settings, f"dataset: {path} line {n}", line, chat) for n, line in lines]
    if output is not None:
        for index, request in enumerate(requests):
            request["max_tokens"] = output.draw(settings.data_seed, _OUTPUT_STREAM, index)
    return Prompts(path.name, requests, settings)


def _made(settings: Settings, output: Lengths | None, chat: bool) -> Prompts:
    lengths = parse_lengths("prompt_tokens", settings.prompt_tokens)
    seed = settings.data_seed
    requests = []
    for index in range(settings.total_sample_count or DEFAULT_COUNT):
        text = made_text(seed, index, lengths.draw(seed, _INPUT_STREAM, index))
        count = output.draw(seed, _OUTPUT_STREAM, index) if output else DEFAULT_OUTPUT_TOKENS
        requests.append({**_spoken(text, chat), "max_tokens": count})
    return Prompts("random", requests, settings)


def made_text(seed: int, index: int, word_count: int) -> str:
    """``word_count`` words: the same for the same seed and index, on every host."""
    key = np.array([seed % 2**64, _WORD_STREAM], np.uint64)
    counter = np.array([0, 0, 0, index], np.uint64)
    drawn = np.random.Philox(key=key, counter=counter).random_raw(word_count)
    return " ".join(WORDS[number] for number in (drawn % len(WORDS)).tolist())


def _spoken(text: str, chat: bool) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}


def _read_lines(path: Path) -> list[tuple[int, Any]]:
    """(line number, value) of every line that holds something.

    Lines end in LF alone: JSON's texts may hold U+2028, U+2029 and U+0085 as they are. A byte order
    mark is skipped.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UserError(f"dataset: cannot read {path}: {reason}") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line)))
        except (ValueError, RecursionError):
            raise UserError(f"dataset: {path} line {number} is not JSON") from None
    if not found:
        raise UserError(f"dataset: {path} holds no prompt; give one JSON object a line")
    return found


def _request(settings: Settings, where: str, line: Any, chat: bool) -> dict[str, Any]:
    if isinstance(line, str):
        return _spoken(line, chat)
    if not isinstance(line, dict):
        raise UserError(f"{where}: must be text or an object with prompt or messages")
    sent = {name: value for name, value in line.items() if name not in NOT_FOR_THE_SERVER}
    for name in OUTPUT_LENGTHS:
        if line.get(name) is not None:
            sent.setdefault("max_tokens", max(1, _whole(where, name, line)))
    if "messages" in sent:
        if not chat:
            raise UserError(f"{where}: has messages, which only --openai-api chat can send")
        return sent
    text = sent.pop("prompt", line.get("text"))
    if text is None and "input_length" in line:
        count = max(1, _whole(where, "input_length", line))
        text = made_text(settings.data_seed, int(where.rpartition(" ")[2]), count)
    if not isinstance(text, str):
        raise UserError(f"{where}: wants prompt (text), messages or input_length")
    return {**_spoken(text, chat), **sent}


def _whole(where: str, name: str, line: Mapping[str, Any]) -> int:
    value = line[name]
    if type(value) is not int or value < 0:
        raise UserError(f"{where}: {name} must be a whole number, not {value!r}")
    return value


def request_parameters(settings: Settings) -> dict[str, Any]:
    """``--request-parameters`` as an object. Raises SettingsError."""
    if not settings.request_parameters:
        return {}
    try:
        found = json.loads(settings.request_parameters)
    except ValueError as error:
        raise SettingsError(f"request_parameters: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise SettingsError('request_parameters: must be a JSON object, such as {"temperature": 0}')
    return found


def _as_json(request: Mapping[str, Any]) -> bytes:
    """UTF-8 where it can be; escaped where a text has a lone surrogate, as the file had it."""
    try:
        return json.dumps(request, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(request).encode()


class Prompts:
    """Samples as JSON bytes."""

    preprocesses = False
    labels: Array | None = None
    tensors: tuple[TensorSpec, ...] = (BODY_SPEC,)

    def __init__(self, name: str, requests: list[dict[str, Any]], settings: Settings) -> None:
        self.name = name
        self.count = len(requests)
        self._samples = [_as_json(one) for one in requests]
        # What every request carries is work too, though not kept in the samples.
        self._common = json.dumps(request_parameters(settings), sort_keys=True)
        self._api = settings.openai_api

    def sample(self, index: int) -> tuple[bytes, ...]:
        return (self._samples[index],)

    def content_hash(self) -> str:
        digest = sha256(f"prompts-1|{self._api}|{self._common}|".encode())
        for sample in self._samples:
            digest.update(sha256(sample).digest())
        return digest.hexdigest()
