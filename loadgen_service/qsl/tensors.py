"""KServe v2 datatypes, the shape of one sample, and a sample's raw bytes on the wire.

Knows nothing about where samples come from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Protocol

import numpy as np

from loadgen_service.errors import SutError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("|b1"),
    "UINT8": np.dtype("|u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("|i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
}
"""numpy type of each datatype of fixed size; BF16 is kept as its bits."""

BYTES: Final = "BYTES"
"""The datatype of elements of any length: each is a little-endian uint32 length and its bytes."""

ELEMENT_HEAD_BYTES: Final = 4
TENSOR_BYTES_MAX: Final = 2 << 30
"""What a protobuf message holds."""

ANY_LENGTH: Final = -1
"""A dimension that the server leaves open."""


class TensorMetadata(Protocol):
    """What a server says of one tensor; the protocol's messages and ``TensorSpec`` both fit."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input tensor of one sample: no batch dimension in ``shape``.

    -1 is a length left open: to be chosen, or of each sample its own. ``optional``: the server
    takes requests without it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.datatype} [{','.join(map(str, self.shape))}]"

    @property
    def is_open(self) -> bool:
        """Some length is still to be chosen by the data or by --shape."""
        return any(length < 0 for length in self.shape)

    @property
    def element_count(self) -> int:
        """Elements of one sample; only of a shape that is not open."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int | None:
        """Raw bytes of one sample; None for BYTES and open shapes."""
        if self.datatype == BYTES or self.is_open:
            return None
        return self.element_count * DTYPES[self.datatype].itemsize


def checked_spec(tensor: TensorMetadata) -> TensorSpec:
    """A server's tensor as a TensorSpec. Raises SutError for a datatype KServe v2 lacks."""
    shape = tuple(int(length) for length in tensor.shape)
    if tensor.datatype not in DTYPES and tensor.datatype != BYTES:
        raise SutError(
            f"input {tensor.name!r} has datatype {tensor.datatype!r}; "
            f"KServe v2 has {', '.join((*DTYPES, BYTES))}"
        )
    if any(length < ANY_LENGTH for length in shape):
        raise SutError(f"input {tensor.name!r} has shape {list(shape)}; a length is -1, 0 or more")
    spec = TensorSpec(tensor.name, tensor.datatype, shape, bool(getattr(tensor, "optional", False)))
    dtype = DTYPES.get(tensor.datatype)
    item_bytes = dtype.itemsize if dtype is not None else ELEMENT_HEAD_BYTES
    if prod(length for length in shape if length > 0) * item_bytes > TENSOR_BYTES_MAX:
        raise SutError(
            f"input {tensor.name!r} is {spec}, more than the {TENSOR_BYTES_MAX >> 30} GiB that one "
            "message holds; give shorter lengths"
        )
    return spec


def encode(array: Array, datatype: str) -> bytes:
    """Raw little-endian bytes of an array, row-major, converted to ``datatype``."""
    if datatype == BYTES:
        return encode_elements(array.ravel().tolist())
    if datatype == "BF16":
        return bfloat16_bits(array).tobytes()
    return np.ascontiguousarray(array, DTYPES[datatype]).tobytes()


def encode_elements(elements: Iterable[str | bytes]) -> bytes:
    """Raw bytes of a BYTES tensor."""
    parts: list[bytes] = []
    for element in elements:
        content = element.encode() if isinstance(element, str) else element
        parts += (struct.pack("<I", len(content)), content)
    return b"".join(parts)


def decode_elements(raw: bytes) -> list[bytes] | None:
    """Elements of a BYTES tensor's raw bytes; None if the lengths do not add up."""
    elements, at = [], 0
    while at < len(raw):
        start = at + 4
        if start > len(raw):
            return None
        (length,) = struct.unpack_from("<I", raw, at)
        at = start + length
        if at > len(raw):
            return None
        elements.append(raw[start:at])
    return elements


def bfloat16_bits(array: Array) -> Array:
    """BF16 bits (uint16) of numbers, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(array, "<f4").view("<u4").astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding would carry a NaN's payload into another number: keep it a quiet NaN.
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(np.asarray(array, "<f4")), quiet, rounded).astype("<u2")
