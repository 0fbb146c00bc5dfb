"""KServe v2 tensors: data types, declared shapes, raw bytes to numpy arrays and back.

Knows nothing of requests or models. Arrays made from raw bytes are read-only views of them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sut_server.errors import CallError, Code

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
"""KServe's data types as numpy's. BYTES are arrays of ``bytes`` objects."""

TEXTS_MAX: Final = 1 << 20
"""BYTES elements of a tensor: each is an object, and a million take a third of a second."""

TEXT_BYTES_MAX: Final = 64 << 20

CONTENTS_FIELDS: Final[dict[str, str]] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where a request without raw bytes keeps each type's numbers (FP16 has no such field)."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A declared tensor; -1 in ``shape`` is any length, and a leading -1 is the batch dimension."""

    name: str
    datatype: str
    shape: Shape

    @property
    def is_batched(self) -> bool:
        return bool(self.shape) and self.shape[0] == -1

    def accepts(self, shape: Shape) -> bool:
        """Whether a tensor of this concrete shape fits the declaration."""
        if len(shape) != len(self.shape):
            return False
        for want, got in zip(self.shape, shape, strict=True):
            if got < 0 or want not in (-1, got):
                return False
        return True


def element_count(shape: Sequence[int]) -> int:
    """Product of the lengths; 1 for a scalar."""
    count = 1
    for length in shape:
        count *= length
    return count


def from_raw(name: str, datatype: str, shape: Shape, raw: bytes | memoryview) -> Array:
    """The array in ``raw`` (little-endian, row major; BYTES: 4-byte length before each element).

    Raises CallError (INVALID_ARGUMENT) if the bytes are not exactly the shape's.
    """
    check_size(name, datatype, shape, len(raw))
    if datatype == "BYTES":
        return _shaped(name, _from_raw_bytes(name, shape, bytes(raw)), shape)
    return _shaped(name, np.frombuffer(raw, dtype=DTYPES[datatype]), shape)


def check_size(name: str, datatype: str, shape: Shape, size_bytes: int) -> None:
    """Raises CallError (INVALID_ARGUMENT) if raw bytes of that number cannot be the shape's."""
    count = element_count(shape)
    if datatype == "BYTES":
        want, is_fit = 4 * count, 4 * count <= size_bytes <= TEXT_BYTES_MAX
        if count > TEXTS_MAX:
            text = f"input '{name}': {count} BYTES elements, at most {TEXTS_MAX} are taken"
            raise CallError(Code.INVALID_ARGUMENT, text)
    else:
        want = count * DTYPES[datatype].itemsize
        is_fit = size_bytes == want
    if not is_fit:
        least = "at least " if datatype == "BYTES" else ""
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"input '{name}': {size_bytes} raw bytes, but {datatype} {list(shape)} takes "
            f"{least}{want}",
        )


def _shaped(name: str, array: Array, shape: Shape) -> Array:
    try:
        return array.reshape(shape)
    except ValueError:  # nothing in it, and lengths whose product numpy cannot hold
        text = f"input '{name}': numpy has no array of shape {list(shape)}"
        raise CallError(Code.INVALID_ARGUMENT, text) from None


def from_contents(name: str, datatype: str, shape: Shape, values: Sequence[Any]) -> Array:
    """The array of typed contents. Raises CallError (INVALID_ARGUMENT) on a wrong count."""
    want = element_count(shape)
    if len(values) != want:
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"input '{name}': {len(values)} values, but shape {list(shape)} takes {want}",
        )
    array = np.empty(want, dtype=DTYPES[datatype])
    try:
        array[:] = list(values)
    except OverflowError:
        text = f"input '{name}': a value does not fit {datatype}"
        raise CallError(Code.INVALID_ARGUMENT, text) from None
    return _shaped(name, array, shape)


def to_raw(array: Array) -> bytes:
    """The raw bytes of an array as KServe wants them (see ``from_raw``)."""
    if array.dtype.kind in "OSU":
        elements = (_encoded(element) for element in array.reshape(-1).tolist())
        return b"".join(struct.pack("<I", len(e)) + e for e in elements)
    little = array.dtype.newbyteorder("<")
    return np.ascontiguousarray(array, dtype=little).tobytes()


def _encoded(element: object) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()


def _from_raw_bytes(name: str, shape: Shape, raw: bytes) -> Array:
    elements: list[bytes] = []
    at = 0
    while at + 4 <= len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        elements.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    want = element_count(shape)
    if at != len(raw) or len(elements) != want:
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"input '{name}': the raw bytes are not {want} BYTES elements with 4-byte lengths",
        )
    array = np.empty(want, dtype=np.object_)
    array[:] = elements
    return array
