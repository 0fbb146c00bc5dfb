"""Hand-written stand-ins for what surrounds the parts of sut-server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from sut_server.engines.calls import Call
from sut_server.errors import CallError, Code
from sut_server.models.spec import Batch, ModelSpec
from sut_server.models.tensors import TensorSpec

DEADLINE_S = 20.0


@dataclass
class FakeSink:
    """Keeps what calls are answered: message, (code, text), or None if never."""

    settled: dict[int, Any] = field(default_factory=dict)
    sent: list[tuple[int, bytes]] = field(default_factory=list)

    def send(self, stream_id: int, parts: list[bytes]) -> None:
        self.sent.append((stream_id, b"".join(parts)))

    def answer(self, stream_id: int, parts: list[bytes]) -> None:
        assert stream_id not in self.settled
        self.settled[stream_id] = b"".join(parts)

    def refuse(self, stream_id: int, code: Code, text: str) -> None:
        assert stream_id not in self.settled
        self.settled[stream_id] = (code, text)

    def forget(self, stream_id: int) -> None:
        assert stream_id not in self.settled
        self.settled[stream_id] = None

    def call(self, stream_id: int, received_ns: int = 0) -> Call:
        return Call(self, stream_id, received_ns)

    async def settle(self, count: int) -> None:
        await until(lambda: len(self.settled) >= count)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds; fails after a deadline."""

    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), DEADLINE_S)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function to its end, within a deadline."""
    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))  # type: ignore[arg-type]  # a coroutine


class FakeModel:
    """Doubles its input; waits for ``gate`` and remembers the batches it ran."""

    spec = ModelSpec(
        "double",
        "test",
        (TensorSpec("x", "FP32", (-1, 2)),),
        (TensorSpec("y", "FP32", (-1, 2)),),
    )

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batch_rows: list[int] = []
        self.hints: list[tuple[str, list[int]]] = []
        self.error: Exception | None = None

    def infer(self, batch: Batch) -> Batch:
        assert self.gate.wait(DEADLINE_S)
        self.batch_rows.append(len(batch["x"]))
        if self.error is not None:
            raise self.error
        return {"y": batch["x"] * np.float32(2)}

    def load_samples(self, sample_index: list[int]) -> None:
        self.hints.append(("load", sample_index))

    def unload_samples(self, sample_index: list[int]) -> None:
        self.hints.append(("unload", sample_index))


def infer_message(
    values: list[list[float]], model: str = "double", tensor: str = "x", request_id: str = ""
) -> Any:
    """A ModelInferRequest with one FP32 tensor in raw contents."""
    array = np.array(values, dtype="<f4")
    message = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    message.inputs.add(name=tensor, datatype="FP32", shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message


def output_of(answer: bytes) -> list[list[float]]:
    """The one FP32 output of a ModelInferResponse."""
    message = service_pb2.ModelInferResponse.FromString(answer)
    raw = np.frombuffer(message.raw_output_contents[0], dtype="<f4")
    rows: list[list[float]] = raw.reshape(tuple(message.outputs[0].shape)).tolist()
    return rows


def refused(answer: object) -> CallError:
    """The refusal in ``FakeSink.settled``."""
    assert isinstance(answer, tuple), answer
    return CallError(*answer)


class FakeAlarms:
    """Alarms that a test lets ring, in the order of their instants."""

    def __init__(self) -> None:
        self.set: list[tuple[int, int, object]] = []
        self.now_ns = 0

    def at(self, deadline_ns: int, call: object) -> None:
        self.set.append((deadline_ns, len(self.set), call))

    def ring_all(self) -> None:
        while self.set:
            self.set.sort(key=lambda alarm: alarm[:2])
            self.now_ns, _, call = self.set.pop(0)
            call(self.now_ns)  # type: ignore[operator]
