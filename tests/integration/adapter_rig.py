"""What the tests of adapters share: an opened adapter, a sink that keeps answers, a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import uvloop

from loadgen_service.core.settings import Settings
from loadgen_service.sut.factory import open_suts
from loadgen_service.sut.interface import DONE, Event, Parts, SystemUnderTest
from loadgen_service.sut.kserve.grpc_request import (
    MODEL_INFER_PATH,
    RequestTensor,
    request_head,
    request_parts,
)

ADAPTERS = ["wire", "grpc_aio"]
WAIT_S = 20.0


def request_for(model: str, content: bytes | memoryview = bytes(64)) -> Parts:
    """One sample of sixteen floats, or whatever ``content`` is."""
    head = request_head(model, "", [RequestTensor("input", "FP32", (16,))], 1, batched=True)
    return request_parts(head, [(content,)])


PARTS = request_for("null")


class Answers:
    """A sink that keeps what came, by key."""

    def __init__(self) -> None:
        self.by_key: dict[int, Event] = {}
        self.instants: dict[int, int] = {}
        self.repeats = 0
        self._came = asyncio.Event()

    def __call__(self, now_ns: int, events: Any) -> None:
        for event in events:
            if event[0] == DONE:
                self.repeats += event[1] in self.by_key
                self.by_key[event[1]] = event
                self.instants[event[1]] = now_ns
        self._came.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.by_key) < count:
                self._came.clear()
                await self._came.wait()


def run(work: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(work, 3 * WAIT_S)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a worker does
        runner.run(limited())


@asynccontextmanager
async def opened(
    adapter: str, *targets: str, **given: Any
) -> AsyncIterator[tuple[list[SystemUnderTest], Answers]]:
    answers = Answers()
    settings = Settings(sut=list(targets), model="null", adapter=adapter, **given)
    suts = await open_suts(settings, answers)
    try:
        yield suts, answers
    finally:
        for sut in suts:
            await sut.close()


Handler = Callable[[bytes, grpc.aio.ServicerContext], Coroutine[Any, Any, bytes]]


@asynccontextmanager
async def grpcio_server(handler: Handler, **options: int) -> AsyncIterator[str]:
    """A grpcio server whose ModelInfer is ``handler`` over raw bytes."""
    server = grpc.aio.server(options=[(f"grpc.{k}", v) for k, v in options.items()])
    method = grpc.unary_unary_rpc_method_handler(handler)
    service, name = MODEL_INFER_PATH.lstrip("/").split("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return request
