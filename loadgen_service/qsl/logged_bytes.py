"""The bytes of an answer as LoadGen logs them: the outputs of a response without its envelope.

Nothing is gathered, reduced or converted; outputs follow one another as the server sent them. A
broken message gives nothing, never an error: that is the accuracy's business.
"""

from __future__ import annotations

import json
from typing import Final

from tritonclient.grpc import service_pb2

from loadgen_service.qsl.tensors import BYTES
from loadgen_service.qsl.typed_contents import typed_values

_LENGTH_BYTES: Final = 4
_OPENAI_MARK: Final = b"{"
"""Answers of OpenAI-style servers are kept as JSON; no ModelInferResponse begins so."""


def answer_bytes(message: bytes) -> bytes:
    """Raw contents of all outputs in order; of a BYTES output its elements without their lengths.

    Of an OpenAI-style answer its text. Typed contents become the bytes that their datatype has.
    """
    return sample_bytes(message, 1)[0]


def sample_bytes(message: bytes, count: int) -> list[bytes]:
    """``answer_bytes`` of each of the ``count`` samples that a request carried, in its order.

    Every output is cut into equal shares; one that does not divide gives nothing.
    """
    if message.startswith(_OPENAI_MARK):
        return [_text(message)] + [b""] * (count - 1)
    shares: list[list[bytes]] = [[] for _ in range(count)]
    for _, content in _outputs(message):
        size, rest = divmod(len(content), count)
        if rest:
            continue
        for place, share in enumerate(shares):
            part = content[place * size : (place + 1) * size]
            share.append(part if isinstance(part, bytes) else b"".join(part))
    return [b"".join(share) for share in shares]


def first_piece_bytes(message: bytes) -> bytes:
    """``answer_bytes`` of the first piece of a streamed answer that was joined into one message.

    Every piece has the same outputs, so the first ends where an output's name comes again.
    """
    if message.startswith(_OPENAI_MARK):
        return b""
    seen: set[str] = set()
    first = []
    for name, content in _outputs(message):
        if name in seen:
            break
        seen.add(name)
        first.append(content if isinstance(content, bytes) else b"".join(content))
    return b"".join(first)


def piece_bytes(message: bytes) -> bytes:
    """``answer_bytes`` of one piece of a stream, as it came: a ModelStreamInferResponse."""
    try:
        piece = service_pb2.ModelStreamInferResponse.FromString(message)
    except Exception:  # as in _outputs
        return b""
    return answer_bytes(piece.infer_response.SerializeToString())


def _outputs(message: bytes) -> list[tuple[str, bytes | list[bytes]]]:
    """Name and bytes of every output, of BYTES its elements; none of a broken message."""
    try:
        response = service_pb2.ModelInferResponse.FromString(message)
    except Exception:  # protobuf's DecodeError differs between its implementations
        return []
    raws = response.raw_output_contents
    return [
        (output.name, _content(output, raws[at] if at < len(raws) else None))
        for at, output in enumerate(response.outputs)
    ]


def _content(
    output: service_pb2.ModelInferResponse.InferOutputTensor, raw: bytes | None
) -> bytes | list[bytes]:
    if raw is not None:
        return _elements(raw) if output.datatype == BYTES else raw
    values = typed_values(output)
    if values is None:
        return b""
    return values.tolist() if output.datatype == BYTES else values.tobytes()


def _elements(raw: bytes) -> list[bytes]:
    pieces, at = [], 0
    while at + _LENGTH_BYTES <= len(raw):
        size = int.from_bytes(raw[at : at + _LENGTH_BYTES], "little")
        at += _LENGTH_BYTES
        pieces.append(raw[at : at + size])
        at += size
    return pieces


def _text(message: bytes) -> bytes:
    try:
        found = json.loads(message)["text"]
    except (ValueError, KeyError, TypeError):
        return b""
    return str(found).encode()
