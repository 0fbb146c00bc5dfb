"""Both adapters against real servers: same answers, same failures, closed accounting."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from sut_process import sut_server
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.adapters import open_suts
from loadgen_service.sut.base import DONE, Event, SystemUnderTest
from loadgen_service.sut.control import SutControl
from loadgen_service.sut.kserve_request import (
    MODEL_INFER_PATH,
    RequestTensor,
    request_head,
    request_parts,
)

ADAPTERS = ["wire", "grpc_aio"]
WAIT_S = 20.0
HEAD = request_head("null", "", [RequestTensor("input", "FP32", (16,))], 1, batched=True)
PARTS = request_parts(HEAD, [(bytes(64),)])


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

    asyncio.run(limited())


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


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("connections", [1, 3])
def test_every_call_is_answered_once(adapter: str, connections: int) -> None:
    async def work(target: str) -> None:
        async with opened(adapter, target, connections=connections) as ([sut], answers):
            cells = {}
            for key in range(300):
                cells[key] = sut.issue(key, PARTS, time.monotonic_ns())
                if key % 7 == 0:
                    sut.flush()
            sut.flush()
            await answers.wait_for(300)
            assert answers.repeats == 0
            for key, (_, _, code, message, text) in answers.by_key.items():
                assert (code, text) == (0, "")
                assert service_pb2.ModelInferResponse.FromString(message).model_name == "null"
                taken_ns, issued_ns = cells[key]
                assert taken_ns <= issued_ns <= answers.instants[key]
            assert sut.waiting_count == 0

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_large_messages_cross_both_ways(adapter: str) -> None:
    async def work() -> None:
        content = bytes(range(256)) * 4096 * 5  # 5 MiB: far above every first window
        parts = request_parts(HEAD, [(memoryview(content),)])
        async with (
            grpcio_server(echo, max_receive_message_length=1 << 26) as target,
            opened(adapter, target) as ([sut], answers),
        ):
            for key in range(3):
                sut.issue(key, parts, time.monotonic_ns())
            sut.flush()
            await answers.wait_for(3)
            for event in answers.by_key.values():
                request = service_pb2.ModelInferRequest.FromString(event[3])
                assert request.raw_input_contents[0] == content

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_status_comes_back_with_its_text(adapter: str) -> None:
    async def refuse(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong shape: 3 für 4")
        return b""

    async def work() -> None:
        async with grpcio_server(refuse) as target, opened(adapter, target) as ([sut], answers):
            sut.issue(5, PARTS, 1)
            sut.flush()
            await answers.wait_for(1)
            assert answers.by_key[5] == (DONE, 5, 3, None, "wrong shape: 3 für 4")

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_headers_reach_the_server(adapter: str) -> None:
    async def tell(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return str(dict(context.invocation_metadata() or ())["x-key"]).encode()

    async def work() -> None:
        async with (
            grpcio_server(tell) as target,
            opened(adapter, target, header=["X-Key=secret"]) as ([sut], answers),
        ):
            sut.issue(1, PARTS, 1)
            sut.flush()
            await answers.wait_for(1)
            assert answers.by_key[1][3] == b"secret"

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_cancelled_call_is_never_reported(adapter: str) -> None:
    async def stall(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if request == b"stall":
            await asyncio.sleep(WAIT_S)
        return b"ok"

    async def work() -> None:
        async with grpcio_server(stall) as target, opened(adapter, target) as ([sut], answers):
            sut.issue(1, b"\0\0\0\0\5stall", 1)
            sut.issue(2, b"\0\0\0\0\1x", 1)
            sut.flush()
            await answers.wait_for(1)
            sut.cancel(1)
            sut.issue(3, b"\0\0\0\0\1x", 1)
            sut.flush()
            await answers.wait_for(2)
            assert set(answers.by_key) == {2, 3}

    run(work())


def test_calls_wait_for_a_free_stream_and_say_so() -> None:
    async def work() -> None:
        release = asyncio.Event()

        async def hold(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            await release.wait()
            return b"ok"

        async with (
            grpcio_server(hold, max_concurrent_streams=4) as target,
            opened("wire", target) as ([sut], answers),
        ):
            await asyncio.sleep(0)
            cells = [sut.issue(key, PARTS, time.monotonic_ns()) for key in range(10)]
            sut.flush()
            assert sum(cell[1] >= 0 for cell in cells) == 4
            assert (sut.waiting_count, sut.blocked_count) == (6, 6)
            release.set()
            await answers.wait_for(10)
            assert all(event[2] == 0 for event in answers.by_key.values())
            assert [cell[1] for cell in cells] == sorted(cell[1] for cell in cells)
            assert sut.waiting_count == 0

    run(work())


def test_a_broken_connection_fails_its_calls_and_is_replaced() -> None:
    """The peer closes with calls open: all are settled as broken, then a new connection serves."""

    async def work() -> None:
        async def stall(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            if request == b"stall":
                await asyncio.sleep(WAIT_S)
            return b"ok"

        async with grpcio_server(stall) as target:
            port = int(target.rpartition(":")[2])
            links: list[asyncio.StreamWriter] = []
            relay = await asyncio.start_server(
                lambda r, w: relayed(r, w, port, links), "127.0.0.1", 0
            )
            through = relay.sockets[0].getsockname()[1]
            async with opened("wire", f"grpc://127.0.0.1:{through}") as ([sut], answers):
                for key in range(5):
                    sut.issue(key, b"\0\0\0\0\5stall", 1)
                sut.flush()
                await asyncio.sleep(0.05)
                for link in links:
                    link.transport.abort()
                await answers.wait_for(5)
                assert {event[2] for event in answers.by_key.values()} == {255}
                cell = sut.issue(9, b"\0\0\0\0\1x", time.monotonic_ns())
                sut.flush()
                await answers.wait_for(6)
                assert answers.by_key[9][2] == 0
                assert cell[1] >= 0
            relay.close()

    run(work())


async def relayed(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    port: int,
    links: list[asyncio.StreamWriter],
) -> None:
    links.append(writer)
    there, back = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        except OSError:
            pass
        sink.close()

    await asyncio.gather(pump(reader, back), pump(there, writer))


def test_with_no_connection_calls_wait_a_while_and_fail_by_name() -> None:
    async def work(target: str, end: Callable[[], object]) -> None:
        async with opened("wire", target) as ([sut], answers):
            end()
            async with asyncio.timeout(WAIT_S):
                while sut.link_count:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
            now_ns = time.monotonic_ns()
            cell = sut.issue(1, PARTS, now_ns)
            sut.flush()
            sut.sweep(now_ns + 10)
            assert not answers.by_key
            sut.sweep(now_ns + 2_000_000_000)
            assert answers.by_key[1][2] == 255
            assert "no connection to" in answers.by_key[1][4]
            assert cell[1] == -1

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}", server.end))


def test_goaway_moves_new_calls_to_a_new_connection() -> None:
    async def work() -> None:
        async def slow(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            await asyncio.sleep(0.05)
            return b"ok"

        # grpcio sends GOAWAY after so many ms of a connection's life and lets open calls end.
        async with (
            grpcio_server(slow, max_connection_age_ms=200, max_connection_age_grace_ms=5000) as t,
            opened("wire", t) as ([sut], answers),
        ):
            for key in range(60):
                sut.issue(key, PARTS, time.monotonic_ns())
                sut.flush()
                sut.sweep(time.monotonic_ns())
                await asyncio.sleep(0.02)
            await answers.wait_for(60)
            assert all(event[2] == 0 for event in answers.by_key.values())

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_unreachable_sut_is_one_line(adapter: str) -> None:
    async def work() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(SutError, match=f"cannot reach grpc://127.0.0.1:{port}"):
                async with opened(adapter, f"grpc://127.0.0.1:{port}", connect_timeout_ms=500):
                    pass

    run(work())


def test_a_server_that_speaks_no_http2_is_one_line() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async def work() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SutError) as caught:
            async with opened("wire", f"grpc://127.0.0.1:{port}", connect_timeout_ms=1000):
                pass
        assert "\n" not in str(caught.value)
        assert "gRPC" in str(caught.value)
        server.close()

    run(work())


def test_describe_tells_what_the_sut_is() -> None:
    async def work(target: str) -> None:
        settings = Settings(sut=[target], model="null")
        async with SutControl(settings, 10**10) as control:
            answers = await control.describe()
            [sut] = answers.suts
            assert sut.has_sut_proto
            assert [(t.name, t.datatype, list(t.shape)) for t in sut.inputs] == [
                ("input", "FP32", [-1, 16])
            ]
            clocks = (await control.clocks(4)).clocks
            assert len(clocks[0]) == 4
            assert not (await control.flush()).lacking
            assert not (await control.load([1, 2])).lacking
            assert not (await control.load([1, 2], unload=True)).lacking
            assert len((await control.statistics()).statistics) == 1

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}"))


def test_an_unknown_model_is_one_line() -> None:
    async def work(target: str) -> None:
        async with SutControl(Settings(sut=[target], model="resnet"), 10**10) as control:
            with pytest.raises(SutError) as caught:
                await control.describe()
            assert "resnet" in str(caught.value)
            assert "--model" in str(caught.value)

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}"))


def test_a_server_without_kserve_is_one_line_and_lacking_calls_are_none() -> None:
    async def work() -> None:
        async with grpcio_server(echo) as target:
            settings = Settings(sut=[target], model="m")
            async with SutControl(settings, 5 * 10**9) as control:
                with pytest.raises(SutError, match="not KServe v2"):
                    await control.describe()
                assert (await control.flush()).lacking == [f"Flush at {target}"]
                assert (await control.clocks()).clocks == {}

    run(work())
