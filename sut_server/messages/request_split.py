"""A ModelInferRequest cut into what changes with each request and what seldom does.

protobuf copies bytes fields twice, into the message and out of it. Here the raw contents are cut
out before, as views of the bytes that came, and the id; what protobuf reads is the rest, and only
if the rest is not known already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError
from grpc_wire.windows import Piece
from tritonclient.grpc import service_pb2

from sut_server.errors import CallError, Code

LARGE_BYTES: Final = 16_384
"""Requests from this size on are worth cutting for the copies alone."""

FIELDS_MAX: Final = 1_024
"""A large request of more parts is protobuf's: ours would take a loop of Python for each."""

SMALL_FIELDS_MAX: Final = 24
"""The same for a short request, which protobuf reads quickly."""

_ID: Final = 3 << 3 | 2
"""Tag of ``id`` (KServe v2): field 3, length-delimited."""

_RAW_INPUT_CONTENTS: Final = 7 << 3 | 2
"""Tag of ``raw_input_contents`` (KServe v2): field 7, length-delimited."""

_INPUTS: Final = 5 << 3 | 2
"""Tag of ``inputs`` (KServe v2): field 5, length-delimited."""

_CONTENTS: Final = 5 << 3 | 2
"""Tag of an input's ``contents``: field 5 of its own message."""

TYPED_BYTES_MAX: Final = 16 << 20
"""Of one input: some four million numbers, which take half a second."""

DESCRIBED_BYTES_MAX: Final = 64 << 10
"""Names, types, shapes and parameters of all tensors of a request."""

_FIXED_BYTES: Final = {1: 8, 5: 4}
"""Wire types of fixed size (protobuf's encoding)."""


class Cut(NamedTuple):
    """A request's parts; ``rest`` is all that stands neither in ``request_id`` nor in ``raw``."""

    rest: bytes
    request_id: bytes
    raw: list[memoryview]


class ModelInferRequest:
    """A request; ``cut`` into its parts, or None if protobuf read it whole."""

    __slots__ = ("_message", "cut")

    def __init__(self, message: Any, cut: Cut | None) -> None:
        """``message``: protobuf's; None with ``cut``, of which it is made if it is asked for."""
        self._message = message
        self.cut = cut

    @classmethod
    def FromString(cls, data: Piece) -> ModelInferRequest:  # as protobuf's messages
        """Raises protobuf's DecodeError, and CallError for more than any model takes."""
        is_large = len(data) >= LARGE_BYTES
        cut = split_raw(data, FIELDS_MAX if is_large else SMALL_FIELDS_MAX)
        if is_large:
            check_parts(data, cut)
        if cut is not None:
            return cls(None, cut)
        return cls(service_pb2.ModelInferRequest.FromString(bytes(data)), None)

    @property
    def message(self) -> Any:
        """protobuf's message, which may lack the raw contents. Raises its DecodeError."""
        if self._message is None:
            assert self.cut is not None
            message = service_pb2.ModelInferRequest.FromString(self.cut.rest)
            message.id = self.request_id
            self._message = message
        return self._message

    @property
    def raw(self) -> Sequence[bytes | memoryview]:
        """The raw contents."""
        raw: Sequence[bytes | memoryview]
        raw = self._message.raw_input_contents if self.cut is None else self.cut.raw
        return raw

    @property
    def request_id(self) -> str:
        """The id; "" where there is none. Raises DecodeError if it is no UTF-8."""
        if self.cut is None:
            return str(self._message.id)
        try:
            return self.cut.request_id.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"id: {error}") from error


def check_parts(data: Piece, cut: Cut | None) -> None:
    """Refuse what protobuf would turn into far more memory and time than it has bytes.

    Two bytes are an empty input, which costs 300 in memory; shapes, names and parameters grow
    likewise. Typed contents are bounded by their bytes. Raises CallError (INVALID_ARGUMENT).
    """
    rest = data if cut is None else cut.rest
    if len(rest) <= DESCRIBED_BYTES_MAX:
        return
    described = 0
    for _, tag, start, end in _fields(rest):
        described += end - start
        if tag == _INPUTS:
            contents = [(a, b) for _, inner, a, b in _fields(rest[start:end]) if inner == _CONTENTS]
            typed = sum(b - a for a, b in contents)
            if typed > TYPED_BYTES_MAX:
                raise _refusal(
                    f"{typed} bytes of typed contents, at most {TYPED_BYTES_MAX} are "
                    "taken: use raw_input_contents"
                )
            described -= typed
        elif tag == _RAW_INPUT_CONTENTS:
            described -= end - start
    if described > DESCRIBED_BYTES_MAX:
        raise _refusal(f"{described} bytes beside the contents, at most {DESCRIBED_BYTES_MAX}")


def _fields(data: Piece) -> Iterator[tuple[int, int, int, int]]:
    """First byte, tag, and bounds of the content of each field. Raises CallError past the limit."""
    at, end = 0, len(data)
    try:
        for _ in range(FIELDS_MAX):
            if at >= end:
                return
            first = at
            tag, at = _varint(data, at)
            start, at = _field(data, tag & 7, at)
            yield first, tag, start, min(at, end)
    except (IndexError, KeyError):
        raise _refusal("a field that protobuf 3 does not write") from None
    if at < end:
        raise _refusal(f"over {FIELDS_MAX} fields")


def _refusal(text: str) -> CallError:
    return CallError(Code.INVALID_ARGUMENT, f"the request has {text}")


def split_raw(data: Piece, fields_max: int = FIELDS_MAX) -> Cut | None:
    """The parts of a request; None where protobuf must judge it whole."""
    view, end, at = memoryview(data), len(data), 0
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    request_id: bytes | memoryview = b""
    try:
        for _ in range(fields_max):
            if at == end:
                return Cut(b"".join(rest), bytes(request_id), raw)
            first = at
            tag, at = _varint(data, at)
            start, at = _field(data, tag & 7, at)
            if at > end:
                return None
            if tag == _RAW_INPUT_CONTENTS:
                raw.append(view[start:at])
            elif tag == _ID:
                request_id = view[start:at]
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
    value = data[at]
    if value < 128:
        return value, at + 1
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
