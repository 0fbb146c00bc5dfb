"""The bytes of an answer as LoadGen logs them: a ModelInferResponse without its envelope.

Nothing is gathered, reduced or converted; outputs follow one another as the server sent them.
"""

from __future__ import annotations

from typing import Final

from tritonclient.grpc import service_pb2

_LENGTH_BYTES: Final = 4


def answer_bytes(message: bytes) -> bytes:
    """Raw contents of all outputs in order; of a BYTES output its elements without their lengths.

    Answers in typed contents, which have no bytes of their own, give nothing. Never raises: a
    broken message gives nothing, and is the accuracy's business.
    """
    try:
        response = service_pb2.ModelInferResponse.FromString(message)
    except Exception:  # protobuf's DecodeError differs between its implementations
        return b""
    pieces = []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        pieces.append(_elements(raw) if output.datatype == "BYTES" else raw)
    return b"".join(pieces)


def _elements(raw: bytes) -> bytes:
    pieces, at = [], 0
    while at + _LENGTH_BYTES <= len(raw):
        size = int.from_bytes(raw[at : at + _LENGTH_BYTES], "little")
        at += _LENGTH_BYTES
        pieces.append(raw[at : at + size])
        at += size
    return b"".join(pieces)
