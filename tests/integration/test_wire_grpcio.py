"""grpcio as the peer of our wire, in both directions, over sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_wire.client import CLOSED, DONE, MESSAGE, ClientConnection
from grpc_wire.events import CANCELLED, HALF_CLOSED, OPENED, REQUEST
from grpc_wire.headers import HeaderBlock, request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection

DEADLINE_S = 20
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, DEADLINE_S))


# ---------------------------------------------------------------- our client, grpcio's server
class WireClient(asyncio.Protocol):
    """Settles a future a key; keeps the messages of streaming calls."""

    def __init__(self) -> None:
        self.wire = ClientConnection()
        self.calls: dict[int, asyncio.Future[tuple]] = {}
        self.messages: list[bytes] = []
        self.ready = asyncio.Event()
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.wire.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.take(self.wire.receive(data))
        self.flush()
        if self.wire.is_ready:
            self.ready.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.take(self.wire.eof())
        self.closed.set()

    def take(self, events: list) -> None:
        for event in events:
            if event[0] == DONE:
                self.calls.pop(event[1]).set_result(event[2:])
            elif event[0] == MESSAGE:
                self.messages.append(event[2])
            elif event[0] == CLOSED:
                self.transport.close()

    def flush(self) -> None:
        for piece in self.wire.take_output():
            self.transport.write(piece)

    def call(
        self, key: int, headers: HeaderBlock, message: bytes, *, streaming: bool = False
    ) -> asyncio.Future[tuple]:
        future = self.calls[key] = asyncio.get_running_loop().create_future()
        assert self.wire.call(key, headers, frame_message(message), streaming=streaming)
        self.flush()
        return future


class Handlers(grpc.GenericRpcHandler):
    """Methods by the last part of their path."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = details.method.rpartition("/")[2]
        if method == "Stream":
            return grpc.unary_stream_rpc_method_handler(stream)
        found = {"Echo": echo, "Fail": fail, "Metadata": metadata, "Gzip": gzipped, "Slow": slow}
        return grpc.unary_unary_rpc_method_handler(found[method]) if method in found else None


async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return request


async def slow(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await asyncio.sleep(float(request))
    return b"slow"


async def fail(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no model 'é', 100%\n")
    return b""


async def metadata(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last", "2"),))
    found = dict(list(context.invocation_metadata() or ()))
    left_s = context.time_remaining()
    return repr((found["x-tenant"], found["trace-bin"], 4 < (left_s or 0) <= 5)).encode()


async def gzipped(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    context.set_compression(grpc.Compression.Gzip)
    return bytes(10_000)


async def stream(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    for index in range(int(request)):
        yield b"%d" % index


def headers(method: str, **options: Any) -> HeaderBlock:
    return request_headers(path=f"/s.S/{method}", authority="127.0.0.1", **options)


def with_grpcio_server(
    test: Callable[[WireClient, grpc.aio.Server], Awaitable[None]],
) -> None:
    async def body() -> None:
        server = grpc.aio.server(handlers=[Handlers()], options=UNLIMITED)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(WireClient, "127.0.0.1", port)
        try:
            await client.ready.wait()
            await test(client, server)
        finally:
            client.transport.abort()
            await server.stop(None)

    run(body())


def test_grpcio_answers_our_calls() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        block = headers("Echo")
        for turn in range(3):
            futures = [client.call(key, block, b"%d-%d" % (turn, key)) for key in range(100)]
            for key, future in enumerate(futures):
                assert await future == (0, b"%d-%d" % (turn, key), "")
        assert client.wire._calls.tails.by_block  # the fast path knows its answers

    with_grpcio_server(test)


@pytest.mark.parametrize("size", [0, 16_384, 1_000_000, 5_000_000])
def test_large_messages_cross_to_grpcio_and_back(size: int) -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        message = bytes(range(250)) * (size // 250)
        for key in range(3):
            assert await client.call(key, headers("Echo"), message) == (0, message, "")
        assert client.wire.blocked_bytes == 0

    with_grpcio_server(test)


def test_status_and_text_of_grpcio_are_read() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        assert await client.call(0, headers("Fail"), b"") == (5, None, "no model 'é', 100%\n")
        code, message, text = await client.call(1, headers("Nothing"), b"")
        assert (code, message) == (12, None)
        assert text
        # no compression is offered, so grpcio leaves out the one that its method asks for
        assert await client.call(2, headers("Gzip"), b"") == (0, bytes(10_000), "")

    with_grpcio_server(test)


def test_grpcio_reads_our_metadata_and_timeout() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        block = headers(
            "Metadata",
            metadata=[("x-tenant", "a b"), ("trace-bin", "\x00é")],
            timeout_ns=5_000_000_000,
        )
        for key in range(3):
            code, message, _ = await client.call(key, block, b"")
            assert (code, message) == (0, repr(("a b", "\x00é".encode(), True)).encode())

    with_grpcio_server(test)


def test_streaming_answer_of_grpcio() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        assert await client.call(0, headers("Stream"), b"50", streaming=True) == (0, None, "")
        assert client.messages == [b"%d" % index for index in range(50)]

    with_grpcio_server(test)


def test_cancelled_call_leaves_the_others_alone() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        cancelled = client.call(0, headers("Slow"), b"0.2")
        other = client.call(1, headers("Slow"), b"0.3")
        client.wire.cancel(0)
        client.flush()
        assert await other == (0, b"slow", "")
        assert not cancelled.done()

    with_grpcio_server(test)


def test_grpcio_that_stops_drains_our_connection() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        future = client.call(0, headers("Slow"), b"0.3")
        await client.call(1, headers("Echo"), b"")
        stopping = asyncio.ensure_future(server.stop(5))
        assert await future == (0, b"slow", "")
        await stopping
        await client.closed.wait()
        assert client.wire.is_draining
        assert not client.wire.call(2, headers("Echo"), frame_message(b""))

    with_grpcio_server(test)


def test_grpcio_that_is_killed_settles_every_call() -> None:
    async def test(client: WireClient, server: grpc.aio.Server) -> None:
        futures = [client.call(key, headers("Slow"), b"10") for key in range(5)]
        await client.call(9, headers("Echo"), b"")
        await server.stop(0)
        for future in futures:
            assert (await future)[0] in (1, 14, 255)

    with_grpcio_server(test)


# ---------------------------------------------------------------- our server, grpcio's client
class WireServer(asyncio.Protocol):
    """Echoes; knows the same methods as ``Handlers``, as far as a test needs them."""

    def __init__(self, cancelled: list[int], **options: Any) -> None:
        self.wire = ServerConnection(streaming_paths=[b"/s.S/Chat"], **options)
        self.cancelled = cancelled
        self.waiting: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.wire.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.wire.receive(data):
            self.take(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.wire.eof()

    def flush(self) -> None:
        for piece in self.wire.take_output():
            self.transport.write(piece)

    def take(self, event: tuple) -> None:
        wire, stream_id = self.wire, event[1]
        if event[0] == REQUEST and event[2] == b"/s.S/Fail":
            wire.finish(stream_id, 5, "no model 'é', 100%\n")
        elif event[0] == REQUEST and event[2] == b"/s.S/Metadata":
            wire.respond(stream_id, frame_message(event[4]["x-tenant"].encode()))
        elif event[0] == REQUEST and event[2] == b"/s.S/Stream":
            for index in range(int(event[3])):
                wire.send_message(stream_id, frame_message(b"%d" % index))
            wire.finish(stream_id)
        elif event[0] == REQUEST and event[2] == b"/s.S/Echo":
            wire.respond(stream_id, (frame_message(event[3])[:5], event[3]))
        elif event[0] == MESSAGE:
            wire.send_message(stream_id, frame_message(b"re: " + event[2]))
        elif event[0] == HALF_CLOSED:
            wire.finish(stream_id)
        elif event[0] == CANCELLED:
            self.cancelled.append(stream_id)
        elif event[0] == REQUEST and event[2] == b"/s.S/Never":
            self.waiting.append(stream_id)
        else:
            assert event[0] == OPENED


Test = Callable[[grpc.aio.Channel, list[WireServer]], Awaitable[None]]


def with_grpcio_client(test: Test, options: list = UNLIMITED, **limits: int) -> list[int]:
    cancelled: list[int] = []

    async def body() -> None:
        made: list[WireServer] = []

        def make() -> WireServer:
            made.append(WireServer(cancelled, **limits))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                await test(channel, made)
        finally:
            server.close()

    run(body())
    return cancelled


def test_grpcio_reads_our_answers() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        call = channel.unary_unary("/s.S/Echo")
        for turn in range(3):
            calls = [call(b"%d-%d" % (turn, key), timeout=9) for key in range(100)]
            assert await asyncio.gather(*calls) == [b"%d-%d" % (turn, key) for key in range(100)]
        assert made[0].wire.open_count == 0

    with_grpcio_client(test)


@pytest.mark.parametrize("size", [0, 16_384, 1_000_000, 5_000_000])
@pytest.mark.parametrize("frame_bytes", [16_384, 1 << 20])
def test_large_messages_cross_from_grpcio_and_back(size: int, frame_bytes: int) -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        message = bytes(range(250)) * (size // 250)
        call = channel.unary_unary("/s.S/Echo")
        for answer in await asyncio.gather(*[call(message, timeout=9) for _ in range(3)]):
            assert answer == message
        assert made[0].wire.blocked_bytes == 0

    with_grpcio_client(test, max_frame_bytes=frame_bytes)


def test_grpcio_reads_our_errors() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await channel.unary_unary("/s.S/Fail")(b"", timeout=9)
        assert info.value.code() is grpc.StatusCode.NOT_FOUND
        assert info.value.details() == "no model 'é', 100%\n"

    with_grpcio_client(test)


def test_grpcio_is_told_of_limits() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        call = channel.unary_unary("/s.S/Echo")
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await call(bytes(100_000), timeout=9)
        assert info.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "message of 100000 bytes is over the limit of 50000" in str(info.value.details())
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await call(bytes(1_000), timeout=9, compression=grpc.Compression.Gzip)
        assert info.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call(b"still here", timeout=9) == b"still here"

    with_grpcio_client(test, max_message_bytes=50_000)


def test_metadata_of_grpcio_reaches_the_application() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        call = channel.unary_unary("/s.S/Metadata")
        for index in range(20):
            name = f"tenant {index // 3}"
            answer = await call(b"", metadata=(("x-tenant", name),), timeout=5 + index)
            assert answer == name.encode()

    with_grpcio_client(test)


def test_grpcio_streams_with_us_both_ways() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        answers = [item async for item in channel.unary_stream("/s.S/Stream")(b"30", timeout=9)]
        assert answers == [b"%d" % index for index in range(30)]
        chat = channel.stream_stream("/s.S/Chat")(timeout=9)
        for word in (b"a", b"", b"c" * 100_000):
            await chat.write(word)
            assert await chat.read() == b"re: " + word
        await chat.done_writing()
        assert await chat.read() is grpc.aio.EOF
        assert await chat.code() is grpc.StatusCode.OK

    with_grpcio_client(test)


def test_deadline_of_grpcio_cancels_our_call() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await channel.unary_unary("/s.S/Never")(b"", timeout=0.1)
        assert info.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        while made[0].wire.open_count:
            await asyncio.sleep(0.01)

    assert with_grpcio_client(test) == [1]


def test_grpcio_moves_on_after_our_goaway() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        call = channel.unary_unary("/s.S/Echo")
        open_call = channel.unary_unary("/s.S/Never")(b"", timeout=9)
        assert await call(b"a", timeout=9) == b"a"
        first = made[0]
        while not first.waiting:
            await asyncio.sleep(0.01)
        first.wire.goaway()
        first.flush()
        while len(made) < 2:
            assert await call(b"b", timeout=9, wait_for_ready=True) == b"b"
        first.wire.respond(first.waiting[0], frame_message(b"late"))
        first.flush()
        assert await open_call == b"late"
        assert first.wire.is_drained

    with_grpcio_client(test)


def test_keepalive_pings_of_grpcio_are_answered() -> None:
    async def test(channel: grpc.aio.Channel, made: list[WireServer]) -> None:
        call = channel.unary_unary("/s.S/Never")(b"", timeout=9)
        await asyncio.sleep(0.5)
        made[0].wire.respond(1, frame_message(b"alive"))
        made[0].flush()
        assert await call == b"alive"

    pinging = [
        ("grpc.keepalive_time_ms", 50),
        ("grpc.keepalive_timeout_ms", 100),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with_grpcio_client(test, pinging)
