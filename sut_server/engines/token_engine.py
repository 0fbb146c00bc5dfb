"""The model ``synthetic-stream``: one request, a known number of answers at known instants.

A decoupled model in Triton's words: only ModelStreamInfer calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sut_server.engines.calls import Call
from sut_server.engines.engine import Desk
from sut_server.engines.model_stats import ModelFigures
from sut_server.engines.token_source import TokenSource
from sut_server.errors import Code
from sut_server.messages.infer import InferRequest
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import TensorSpec

SYNTHETIC_STREAM: Final = "synthetic-stream"


def stream_spec(input_elements: int) -> ModelSpec:
    """FP32 "input" [-1, i] to INT32 "token" [-1, 1], many times."""
    return ModelSpec(
        name=SYNTHETIC_STREAM,
        platform="sut_server_synthetic-stream",
        inputs=(TensorSpec("input", "FP32", (-1, input_elements)),),
        outputs=(TensorSpec("token", "INT32", (-1, 1)),),
        is_decoupled=True,
    )


@dataclass(slots=True)
class TokenEngine:
    """Answers a request with numbered tokens."""

    desk: Desk
    source: TokenSource

    @property
    def spec(self) -> ModelSpec:
        return self.desk.spec

    @property
    def figures(self) -> ModelFigures:
        return self.desk.figures

    def submit(self, call: Call, request: InferRequest) -> None:
        job = self.desk.receive(call, request)
        if not call.is_streamed:
            text = f"model '{self.spec.name}' is decoupled: call ModelStreamInfer"
            self.desk.refuse(job, Code.UNIMPLEMENTED, text)
            return

        def give(number: int, is_last: bool) -> None:
            token = np.full((job.rows, 1), number, dtype="<i4")
            self.desk.stream(job, {"token": token}, is_last=is_last)

        def fail() -> None:
            self.desk.refuse(job, Code.INTERNAL, "injected error (sut-server --error-rate)")

        running = self.source.begin(call.received_ns, give, fail)
        job.on_gone = running.cancel

    def hurry(self) -> None:
        """Nothing is held back."""

    def load_samples(self, sample_index: list[int]) -> None:
        """Nothing to prepare."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to release."""
