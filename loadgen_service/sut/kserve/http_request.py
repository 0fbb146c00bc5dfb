"""KServe v2 over HTTP/REST: requests as ready bytes, answers as the gRPC message of the same name.

Tensors travel by the binary tensor data extension; answers with tensors in JSON are read as well.
Knows no socket and no clock. A kept answer becomes a ModelInferResponse, so that what reads answers
later need not know which way they came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from tritonclient.grpc import service_pb2

from loadgen_service.sut.http.status import UNASKED, code_of, coding_of
from loadgen_service.sut.interface import NO_PIECES, Parts, Usage
from loadgen_service.sut.kserve.grpc_request import (
    JOINED_BYTES_MAX,
    JOINED_TOTAL_BYTES_MAX,
    OwnTensors,
    RequestTensor,
    ShapesOf,
)
from loadgen_service.sut.openai.response import complaint

CODE_INTERNAL: Final = 13
BINARY: Final = "application/octet-stream"
HEADER_LENGTH: Final = b"Inference-Header-Content-Length"

_LENGTH_KEY: Final = HEADER_LENGTH.lower()
DTYPES: Final = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""numpy type of each datatype that JSON has numbers for."""
_UNFIT: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a server's JSON may make the reader raise."""


def model_path(model: str, version: str = "") -> str:
    """``/v2/models/M`` or ``/v2/models/M/versions/V``; names are quoted."""
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def infer_head(
    path: str, authority: str, headers: Sequence[tuple[str, str]], content_type: str = BINARY
) -> bytes:
    """Everything before a request's own header lines; ``path`` is the model's."""
    lines = [
        f"POST {path}/infer HTTP/1.1",
        f"Host: {authority}",
        f"Content-Type: {content_type}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


class HttpInferBuilder:
    """Requests of one run. ``tensors_of(sample)`` gives its raw tensors, ordered as ``tensors``.

    ``batched``: shapes lead with the number of samples.
    """

    def __init__(
        self,
        tensors: Sequence[RequestTensor],
        batched: bool,
        tensors_of: Callable[[int], Sequence[bytes | memoryview]],
        shapes_of: ShapesOf | None = None,
    ) -> None:
        """``shapes_of``: where samples have shapes of their own."""
        self._tensors = tuple(tensors)
        self._own = OwnTensors(self._tensors, tensors_of, shapes_of)
        self._batched = batched
        self._tensors_of = tensors_of
        # Elements of BYTES have lengths of their own: their sizes differ from sample to sample.
        self._is_even = not self._own.are_needed and all(
            t.datatype != "BYTES" for t in self._tensors
        )
        self._heads: dict[int, bytes] = {}
        self._joined_bytes = 0

    def build(self, samples: Sequence[int]) -> Parts:
        """The request's own header lines, its JSON and its tensors. Raises ``SettingsError``.

        Joined if small, in parts (uncopied) if large, within the bounds of ``kserve_request``.
        """
        tensors, contents = self._tensors_and_contents(samples)
        pieces = [self._head(len(samples), tensors, contents), *chain.from_iterable(contents)]
        length = sum(map(len, pieces))
        is_kept = len(samples) == 1  # made before the run, one for each sample
        if length > JOINED_BYTES_MAX:
            return tuple(pieces)
        if is_kept and self._joined_bytes + length > JOINED_TOTAL_BYTES_MAX:
            return tuple(pieces)
        self._joined_bytes += length * is_kept
        return b"".join(pieces)

    def _tensors_and_contents(
        self, samples: Sequence[int]
    ) -> tuple[Sequence[RequestTensor], Sequence[Sequence[bytes | memoryview]]]:
        if self._own.are_needed:
            return self._own.of(samples)
        contents = list(zip(*(self._tensors_of(sample) for sample in samples), strict=True))
        return self._tensors, contents

    def _head(
        self,
        count: int,
        tensors: Sequence[RequestTensor],
        contents: Sequence[Sequence[bytes | memoryview]],
    ) -> bytes:
        """Header lines and JSON of ``count`` samples; kept where each has the same."""
        head = self._heads.get(count)
        if head is not None:
            return head
        sizes = [sum(map(len, pieces)) for pieces in contents]
        inputs = [
            self._input(tensor, size, count) for tensor, size in zip(tensors, sizes, strict=True)
        ]
        said = json.dumps(
            {"inputs": inputs, "parameters": {"binary_data_output": True}}, separators=(",", ":")
        ).encode()
        total = len(said) + sum(sizes)
        head = b"%b: %d\r\nContent-Length: %d\r\n\r\n" % (HEADER_LENGTH, len(said), total) + said
        if self._is_even:
            self._heads[count] = head
        return head

    def _input(self, tensor: RequestTensor, size: int, count: int) -> dict[str, Any]:
        return {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [count, *tensor.shape] if self._batched else list(tensor.shape),
            "parameters": {"binary_data_size": size},
        }


class HttpInferAnswer:
    """Reads one HTTP answer. ``keep``: give it as a serialised ModelInferResponse at its end."""

    __slots__ = ("_body", "_headers", "_keep", "_status")

    def __init__(self, keep: bool = False) -> None:
        self._keep = keep
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head came. Names of ``headers`` are in lower case."""
        self._status = status
        self._headers = headers

    def feed(self, data: bytes) -> bytes:
        """More of the body; an answer is no stream of pieces."""
        if self._keep or self._status != 200:
            self._body.append(data)
        return NO_PIECES

    def end(self) -> bytes:
        """The body is whole."""
        return NO_PIECES

    def ending(self) -> tuple[int, bytes | None, str, Usage | None]:
        """Code, the answer (where kept), the failure's text; no tokens are counted."""
        body = b"".join(self._body)
        if b"content-encoding" in self._headers and (coding := coding_of(self._headers)):
            text = f"HTTP {self._status}, compressed by {coding}, {UNASKED}"
            return code_of(self._status) or CODE_INTERNAL, None, text, None
        if self._status != 200:
            text = f"HTTP {self._status}: {complaint(body)}"
            return code_of(self._status) or CODE_INTERNAL, None, text, None
        if not self._keep:
            return 0, None, "", None
        try:
            return 0, infer_response(body, self._head_length()), "", None
        except _UNFIT as error:
            return CODE_INTERNAL, None, f"the answer is not KServe v2's: {error}", None

    def _head_length(self) -> int:
        """Bytes of the JSON before the tensors; -1: all is JSON."""
        length = self._headers.get(_LENGTH_KEY, b"")
        return int(length) if length.isdigit() and len(length) < 19 else -1


def infer_response(body: bytes, head_bytes: int) -> bytes:
    """A REST answer as a serialised ModelInferResponse with raw contents.

    ``head_bytes``: length of the JSON before the binary tensors; -1: all is JSON. Raises
    ValueError, KeyError or TypeError for what is no such answer.
    """
    if head_bytes > len(body):
        raise ValueError(f"its head has {len(body)} bytes of {head_bytes}")
    said = json.loads(body if head_bytes < 0 else body[:head_bytes])
    offset = head_bytes
    message = service_pb2.ModelInferResponse(
        model_name=str(said.get("model_name", "")),
        model_version=str(said.get("model_version") or ""),
        id=str(said.get("id") or ""),
    )
    for tensor in said["outputs"]:
        message.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            message.raw_output_contents.append(_raw(tensor["datatype"], tensor["data"]))
            continue
        if head_bytes < 0 or not 0 <= size <= len(body) - offset:
            raise ValueError(f"output {tensor['name']}: {size} bytes of it are not all there")
        message.raw_output_contents.append(body[offset : offset + size])
        offset += size
    return bytes(message.SerializeToString())


def _raw(datatype: str, data: Any) -> bytes:
    """A JSON tensor, nested or flat, as raw bytes."""
    if datatype == "BYTES":
        elements = [str(one).encode() for one in np.asarray(data, dtype=object).ravel()]
        return b"".join(len(one).to_bytes(4, "little") + one for one in elements)
    if datatype not in DTYPES:
        raise ValueError(f"no tensors of type {datatype} in JSON")
    with np.errstate(over="ignore"):  # a number too large for its type is infinite
        return np.asarray(data, dtype=DTYPES[datatype]).tobytes()
