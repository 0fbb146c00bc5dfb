"""Requests like those that came before: what was checked once is not read or checked again.

A caller sends thousands of requests that differ in their id and raw contents alone. Which engine
they are for, and each tensor's type and shape, stand in the rest, whose very bytes are the key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from sut_server.engines.engine import Engine
from sut_server.messages.infer import InferRequest
from sut_server.messages.request_split import ModelInferRequest
from sut_server.models.tensors import DTYPES, Shape, from_raw

REMEMBERED: Final = 1_024
"""Past it all are forgotten, so that changing requests cannot fill the memory."""

REST_BYTES_MAX: Final = 4_096
"""A longer rest is not remembered."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input as its raw contents are to be read; ``position`` is theirs among all."""

    name: str
    position: int
    datatype: str
    shape: Shape
    size_bytes: int

    def array(self, raw: bytes | memoryview) -> Any:
        if len(raw) != self.size_bytes or self.datatype == "BYTES":
            return from_raw(self.name, self.datatype, self.shape, raw)
        return np.frombuffer(raw, dtype=DTYPES[self.datatype]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class CachedRequest:
    """What requests with the same rest have in common."""

    engine: Engine
    checked: InferRequest
    tensors: tuple[_Tensor, ...]

    def read(self, request: ModelInferRequest) -> InferRequest | None:
        """The checked request; None if it has fewer or more raw contents than inputs.

        Raises CallError, as ``decode_request`` does, for contents that do not fit, and protobuf's
        DecodeError for an id that is no UTF-8.
        """
        raw, checked = request.raw, self.checked
        if len(raw) != len(self.tensors):
            return None
        return InferRequest(
            request.request_id,
            checked.rows,
            {tensor.name: tensor.array(raw[tensor.position]) for tensor in self.tensors},
            checked.merge_key,
            checked.wanted_outputs,
            wants_final=checked.wants_final,
        )


class RequestCache:
    """The requests that came before, by their rest."""

    def __init__(self) -> None:
        self._by_rest: dict[bytes, CachedRequest] = {}

    def find(self, request: ModelInferRequest) -> CachedRequest | None:
        """What is known of such a request."""
        return None if request.cut is None else self._by_rest.get(request.cut.rest)

    def remember(self, request: ModelInferRequest, engine: Engine, checked: InferRequest) -> None:
        """Know a request again that ``decode_request`` has found to be well.

        Not one with typed contents, in shared memory or in a sequence: they stand in the rest.
        """
        cut, message = request.cut, request.message
        if cut is None or len(cut.rest) > REST_BYTES_MAX or len(cut.raw) != len(message.inputs):
            return
        has_parameters = any(tensor.parameters for tensor in (*message.inputs, *message.outputs))
        if has_parameters or checked.sequence is not None:
            return
        if len(self._by_rest) >= REMEMBERED:
            self._by_rest.clear()
        at = {tensor.name: position for position, tensor in enumerate(message.inputs)}
        tensors = tuple(
            _Tensor(
                name,
                at[name],
                message.inputs[at[name]].datatype,
                array.shape,
                len(cut.raw[at[name]]),
            )
            for name, array in checked.inputs.items()
        )
        self._by_rest[cut.rest] = CachedRequest(engine, _without_contents(checked), tensors)


def _without_contents(checked: InferRequest) -> InferRequest:
    return replace(checked, request_id="", inputs={})
