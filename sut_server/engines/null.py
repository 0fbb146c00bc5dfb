"""The model that does nothing: its answer is ready bytes, so that only the wire costs anything."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from grpc_wire.messages import frame_message
from grpc_wire.windows import Piece
from tritonclient.grpc import service_pb2

from sut_server.engines.calls import Call
from sut_server.engines.engine import Desk
from sut_server.engines.model_stats import ModelFigures
from sut_server.engines.synthetic import INPUT_ELEMENTS, OUTPUT_ELEMENTS, simple_spec
from sut_server.messages.infer import InferRequest
from sut_server.messages.request_split import LARGE_BYTES, ModelInferRequest
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import Array

NULL: Final = "null"
FIRST_INPUT: Final = b"*"
"""Tag of ModelInferRequest.inputs: field 5, length-delimited."""
_TAG_AND_LENGTH: Final = 2


def null_spec() -> ModelSpec:
    """FP32 "input" [-1, 16] to FP32 "output" [-1, 1]."""
    return simple_spec(NULL, INPUT_ELEMENTS, OUTPUT_ELEMENTS)


def ready_answer(spec: ModelSpec) -> bytes:
    """The one ModelInferResponse that the null model gives to everybody: one row of zeros."""
    message = service_pb2.ModelInferResponse(model_name=spec.name, model_version=spec.version)
    for output in spec.outputs:
        shape = (1, *output.shape[1:])
        message.outputs.add(name=output.name, datatype=output.datatype, shape=shape)
        message.raw_output_contents.append(np.zeros(shape, dtype="<f4").tobytes())
    answer: bytes = message.SerializeToString()
    return answer


class ReadyAnswer:
    """The framed answer to every ModelInfer; a request's ``id`` is repeated, as KServe v2 asks."""

    def __init__(self, spec: ModelSpec) -> None:
        self._message = ready_answer(spec)
        self._framed = frame_message(self._message)
        self._tag_at = len(spec.name) + _TAG_AND_LENGTH
        """Where a request without version and id has the tag of its first input."""

    def to(self, request: Piece) -> bytes:
        """The answer to a request, with its id if it has one. What cannot be read has none."""
        if request[self._tag_at : self._tag_at + 1] == FIRST_INPUT:
            return self._framed
        try:
            found = _read(request).id.encode()
        except DecodeError:
            return self._framed
        # A field may stand anywhere in a message, so the id is put behind the rest.
        return frame_message(self._message, _id_field(found)) if found else self._framed


def _read(request: Piece) -> Any:
    """protobuf's message; it reads a short one quicker than it could be cut."""
    if len(request) < LARGE_BYTES:
        return service_pb2.ModelInferRequest.FromString(bytes(request))
    return ModelInferRequest.FromString(request).message


def _id_field(content: bytes) -> bytes:
    field: bytes = service_pb2.ModelInferResponse(id=content.decode()).SerializeToString()
    return field


class NullEngine:
    """The null model beside other models, where requests must be read to know whose they are.

    Served alone, the connection answers by itself and only counts here.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def spec(self) -> ModelSpec:
        return self._desk.spec

    @property
    def figures(self) -> ModelFigures:
        return self._desk.figures

    def submit(self, call: Call, request: InferRequest) -> None:
        job = self._desk.receive(call, request)
        outputs: dict[str, Array] = {
            "output": np.zeros((request.rows, OUTPUT_ELEMENTS), dtype="<f4")
        }
        self._desk.answer(job, outputs, 0, 0)

    def hurry(self) -> None:
        """Nothing waits."""

    def load_samples(self, sample_index: list[int]) -> None:
        """Nothing to prepare."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to release."""
