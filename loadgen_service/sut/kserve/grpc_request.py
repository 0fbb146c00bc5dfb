"""ModelInfer requests as ready bytes: nothing is serialised while a run is on.

A request is one head (model, version, tensors' names, types and shapes) and the samples' raw
tensors, which are protobuf fields and may simply be appended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from tritonclient.grpc import service_pb2

from loadgen_service.errors import SettingsError
from loadgen_service.sut.interface import Parts

MODEL_INFER_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
MODEL_STREAM_INFER_PATH: Final = "/inference.GRPCInferenceService/ModelStreamInfer"

JOINED_BYTES_MAX: Final = 64 * 1024
"""Requests up to this size are kept joined: one small copy per sample, made before the run.
Larger ones stay slices of the arena, which costs no memory but a few more operations a request."""

JOINED_TOTAL_BYTES_MAX: Final = 512 << 20
"""What one worker spends on joined copies; samples beyond it stay slices, whatever their size."""

_RAW_INPUT_CONTENTS_TAG: Final = b"\x3a"  # ModelInferRequest.raw_input_contents = 7, bytes


@dataclass(frozen=True, slots=True)
class RequestTensor:
    """An input tensor as the SUT names it; ``shape`` is of one sample, no batch dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


ShapesOf = Callable[[int], Sequence[tuple[int, ...] | None]]
"""Shape of each tensor of a sample; None where the sample leaves it out, -1 where the tensor's size
settles a length."""

ITEM_BYTES: Final = {
    "BOOL": 1,
    "UINT8": 1,
    "INT8": 1,
    "UINT16": 2,
    "INT16": 2,
    "FP16": 2,
    "BF16": 2,
    "UINT32": 4,
    "INT32": 4,
    "FP32": 4,
    "UINT64": 8,
    "INT64": 8,
    "FP64": 8,
}
_OPEN: Final = -1  # a dimension that differs from sample to sample


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer, for values >= 0."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def request_head(
    model: str, version: str, tensors: Sequence[RequestTensor], sample_count: int, batched: bool
) -> bytes:
    """The request without its raw tensors. ``batched``: shapes lead with ``sample_count``."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for tensor in tensors:
        lead = [sample_count] if batched else []
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[*lead, *tensor.shape])
    return bytes(request.SerializeToString())


def request_parts(
    head: bytes,
    tensors: Sequence[Sequence[bytes | memoryview]],
    joined_bytes_max: int = JOINED_BYTES_MAX,
) -> Parts:
    """One whole gRPC message: ``tensors`` holds, for each input, the pieces of its raw content."""
    pieces: list[bytes | memoryview] = []
    pending = head
    length = len(head)
    for contents in tensors:
        size = sum(len(content) for content in contents)
        field = _RAW_INPUT_CONTENTS_TAG + varint(size)
        pieces.append(pending + field)
        pieces.extend(contents)
        pending = b""
        length += len(field) + size
    if pending:
        pieces.append(pending)
    pieces[0] = b"\0" + length.to_bytes(4, "big") + bytes(pieces[0])
    return b"".join(pieces) if length <= joined_bytes_max else tuple(pieces)


class RequestBuilder:
    """Requests of one model over one arena. ``tensors_of(sample)`` gives its raw tensors."""

    def __init__(
        self,
        model: str,
        version: str,
        tensors: Sequence[RequestTensor],
        batched: bool,
        tensors_of: Callable[[int], Sequence[bytes | memoryview]],
        shapes_of: ShapesOf | None = None,
    ) -> None:
        """``shapes_of``: where samples have shapes of their own."""
        self._model = model
        self._version = version
        self._tensors = tuple(tensors)
        self._batched = batched
        self._tensors_of = tensors_of
        self._heads: dict[int, bytes] = {}
        self._joined_bytes = 0
        self._own = OwnTensors(self._tensors, tensors_of, shapes_of)

    def build(self, samples: Sequence[int]) -> Parts:
        """The request that carries ``samples``; several need a batch dimension."""
        if self._own.are_needed:
            return self._build_own(samples)
        head = self._heads.get(len(samples))
        if head is None:
            head = request_head(
                self._model, self._version, self._tensors, len(samples), self._batched
            )
            self._heads[len(samples)] = head
        if len(samples) == 1:
            return self._build_one(head, samples[0])
        contents = [self._tensors_of(sample) for sample in samples]
        return request_parts(head, list(zip(*contents, strict=True)))

    def _build_one(self, head: bytes, sample: int) -> Parts:
        room = JOINED_TOTAL_BYTES_MAX - self._joined_bytes
        raw = [(content,) for content in self._tensors_of(sample)]
        parts = request_parts(head, raw, min(JOINED_BYTES_MAX, room))
        if isinstance(parts, bytes):
            self._joined_bytes += len(parts)
        return parts

    def _build_own(self, samples: Sequence[int]) -> Parts:
        """Tensors that differ from sample to sample: each request has its own head."""
        tensors, contents = self._own.of(samples)
        head = request_head(self._model, self._version, tensors, len(samples), self._batched)
        return request_parts(head, contents)


class OwnTensors:
    """The tensors of samples whose shapes differ, or that leave optional inputs out."""

    def __init__(
        self,
        tensors: Sequence[RequestTensor],
        tensors_of: Callable[[int], Sequence[bytes | memoryview]],
        shapes_of: ShapesOf | None,
    ) -> None:
        self._tensors = tuple(tensors)
        self._tensors_of = tensors_of
        self._shapes_of = shapes_of
        self.are_needed = shapes_of is not None or any(_OPEN in t.shape for t in self._tensors)
        """Whether some sample's tensors are not those of the head that all share."""

    def of(
        self, samples: Sequence[int]
    ) -> tuple[list[RequestTensor], list[list[bytes | memoryview]]]:
        """What a request of ``samples`` carries: its tensors, and for each a piece a sample.

        Raises ``SettingsError`` where samples of different shapes would share the request.
        """
        first = self._named(samples[0])
        contents = [[content] for _, content in first]
        tensors = [tensor for tensor, _ in first]
        for sample in samples[1:]:
            other = self._named(sample)
            if [tensor for tensor, _ in other] != tensors:
                raise SettingsError(
                    f"samples_per_request: samples {samples[0]} and {sample} have different shapes "
                    "and cannot share a request; use 1"
                )
            for pieces, (_, content) in zip(contents, other, strict=True):
                pieces.append(content)
        return tensors, contents

    def _named(self, sample: int) -> list[tuple[RequestTensor, bytes | memoryview]]:
        contents = self._tensors_of(sample)
        shapes = self._shapes_of(sample) if self._shapes_of else [t.shape for t in self._tensors]
        found = []
        for tensor, shape, content in zip(self._tensors, shapes, contents, strict=True):
            if shape is None:
                continue
            own = RequestTensor(tensor.name, tensor.datatype, tuple(shape))
            found.append((replace(own, shape=closed_shape(own, content)), content))
        return found


def closed_shape(tensor: RequestTensor, content: bytes | memoryview) -> tuple[int, ...]:
    """The shape with its one open dimension filled in from the content's size.

    Raises ``SettingsError`` where the size does not settle it.
    """
    if _OPEN not in tensor.shape:
        return tensor.shape
    known = prod(size for size in tensor.shape if size != _OPEN)
    size = ITEM_BYTES.get(tensor.datatype)
    count = _string_count(content) if size is None else len(content) // size
    if tensor.shape.count(_OPEN) > 1 or not known or count % known:
        raise SettingsError(
            f"shape: tensor {tensor.name} has the shape {list(tensor.shape)}, which {count} "
            "elements do not settle; name it with --shape"
        )
    return tuple(count // known if size == _OPEN else size for size in tensor.shape)


def _string_count(content: bytes | memoryview) -> int:
    """Elements of a BYTES tensor: each is a little-endian length and its bytes."""
    count = offset = 0
    while offset < len(content):
        offset += 4 + int.from_bytes(content[offset : offset + 4], "little")
        count += 1
    return count
