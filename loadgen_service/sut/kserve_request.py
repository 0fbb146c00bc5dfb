"""ModelInfer requests as ready bytes: nothing is serialised while a run is on.

A request is one head (model, version, tensors' names, types and shapes) and the samples' raw
tensors, which are protobuf fields and may simply be appended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tritonclient.grpc import service_pb2

from loadgen_service.sut.base import Parts

MODEL_INFER_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"

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
    ) -> None:
        self._model = model
        self._version = version
        self._tensors = tuple(tensors)
        self._batched = batched
        self._tensors_of = tensors_of
        self._heads: dict[int, bytes] = {}
        self._joined_bytes = 0

    def build(self, samples: Sequence[int]) -> Parts:
        """The request that carries ``samples``; several need a batch dimension."""
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
