"""ModelInfer requests whose tensors lie in shared memory: only their places are sent.

Made before the run, one for each loaded sample, as other requests are; issuing costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tritonclient.grpc import service_pb2

from loadgen_service.errors import SettingsError
from loadgen_service.sut.kserve.grpc_request import OwnTensors, RequestTensor, ShapesOf

REGION_KEY: Final = "shared_memory_region"
OFFSET_KEY: Final = "shared_memory_offset"
SIZE_KEY: Final = "shared_memory_byte_size"


def set_place(parameters: Any, region: str, offset: int, size: int) -> None:
    """Write a tensor's place into its parameters; offset and size in bytes."""
    parameters[REGION_KEY].string_param = region
    parameters[SIZE_KEY].int64_param = size
    if offset:
        parameters[OFFSET_KEY].int64_param = offset


def framed(message: bytes) -> bytes:
    """A message behind gRPC's five bytes."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class SharedRequestBuilder:
    """Requests of one model over a region that holds an arena's bytes.

    ``tensors_of(sample)`` gives the raw tensors, ``spans_of(sample)`` where each begins and ends in
    the region. ``batched``: shapes lead with 1.
    """

    def __init__(
        self,
        model: str,
        version: str,
        tensors: Sequence[RequestTensor],
        batched: bool,
        region: str,
        tensors_of: Callable[[int], Sequence[bytes | memoryview]],
        spans_of: Callable[[int], Sequence[tuple[int, int]]],
        shapes_of: ShapesOf | None = None,
    ) -> None:
        self._model = model
        self._version = version
        self._own = OwnTensors(tensors, tensors_of, shapes_of)
        self._lead = [1] if batched else []
        self._region = region
        self._spans_of = spans_of

    def build(self, samples: Sequence[int]) -> bytes:
        """The framed request of one sample. Raises ``SettingsError`` for several."""
        if len(samples) > 1:
            raise SettingsError("samples_per_request: use 1 with --shared-memory system")
        [sample] = samples
        message = service_pb2.ModelInferRequest(model_name=self._model, model_version=self._version)
        tensors, _ = self._own.of(samples)
        spans = [span for span in self._spans_of(sample) if span[0] >= 0]
        for tensor, (start, end) in zip(tensors, spans, strict=True):
            shape = [*self._lead, *tensor.shape]
            said = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
            set_place(said.parameters, self._region, start, end - start)
        return framed(message.SerializeToString())
