"""A ModelInferRequest with large tensors, read without copying them.

protobuf copies bytes fields twice, into the message and out of it. Here the raw contents are cut
out before, as views of the bytes that came; what protobuf reads is the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from grpc_wire.flow import Piece
from tritonclient.grpc import service_pb2

LARGE_BYTES: Final = 16_384
"""Shorter requests are left to protobuf, which is quicker there."""

FIELDS_MAX: Final = 1_024
"""A request of more parts is protobuf's too: ours would take a loop of Python for each."""

_RAW_INPUT_CONTENTS: Final = 7 << 3 | 2
"""Tag of ``raw_input_contents`` (KServe v2): field 7, length-delimited."""

_FIXED_BYTES: Final = {1: 8, 5: 4}
"""Wire types of fixed size (protobuf's encoding)."""


class ModelInferRequest:
    """``message``: the request; ``raw``: its raw contents, which ``message`` may lack."""

    __slots__ = ("message", "raw")

    def __init__(self, message: Any, raw: Sequence[bytes | memoryview]) -> None:
        self.message = message
        self.raw = raw

    @classmethod
    def FromString(cls, data: Piece) -> ModelInferRequest:  # as protobuf's messages
        """Raises protobuf's DecodeError."""
        parts = split_raw(data) if len(data) >= LARGE_BYTES else None
        message = service_pb2.ModelInferRequest.FromString(parts[0] if parts else bytes(data))
        return cls(message, parts[1] if parts else message.raw_input_contents)


def split_raw(data: Piece) -> tuple[bytes, list[memoryview]] | None:
    """The message without its raw contents, and these; None where protobuf must judge it whole."""
    view, end, at = memoryview(data), len(data), 0
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    try:
        for _ in range(FIELDS_MAX):
            if at == end:
                return b"".join(rest), raw
            first = at
            tag, at = _varint(data, at)
            start, at = _field(data, tag & 7, at)
            if at > end:
                return None
            if tag == _RAW_INPUT_CONTENTS:
                raw.append(view[start:at])
            else:
                rest.append(view[first:at])
    except (IndexError, KeyError):
        return None
    return None


def _field(data: Piece, wire_type: int, at: int) -> tuple[int, int]:
    """Where a field's content starts and ends. KeyError: a wire type that is not for us."""
    if wire_type == 2:
        size, at = _varint(data, at)
        return at, at + size
    if wire_type == 0:
        return at, _varint(data, at)[1]
    return at, at + _FIXED_BYTES[wire_type]


def _varint(data: Piece, at: int) -> tuple[int, int]:
    """A variable-length integer of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
