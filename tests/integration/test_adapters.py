"""Both adapters against real servers: same answers, same failures, closed accounting."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from adapter_rig import ADAPTERS, PARTS, WAIT_S, echo, grpcio_server, opened, request_for, run
from sut_process import sut_server
from tls_authority import Authority
from tritonclient.grpc import service_pb2

from loadgen_service.errors import SutError
from loadgen_service.sut.interface import DONE


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
                released_ns, issued_ns = cells[key]
                assert released_ns <= issued_ns <= answers.instants[key]
            assert sut.waiting_count == 0

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_large_messages_cross_both_ways(adapter: str) -> None:
    async def work() -> None:
        content = bytes(range(256)) * 4096 * 5  # 5 MiB: far above every first window
        parts = request_for("null", memoryview(content))
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
    parts = request_for("synthetic")

    async def work(target: str) -> None:
        async with opened("wire", target) as ([sut], answers):
            cells = [sut.issue(key, parts, time.monotonic_ns()) for key in range(10)]
            sut.flush()
            assert sum(cell[1] >= 0 for cell in cells) == 4
            assert (sut.waiting_count, sut.blocked_count) == (6, 6)
            await answers.wait_for(10)
            assert [event for event in answers.by_key.values() if event[2]] == []
            assert [cell[1] for cell in cells] == sorted(cell[1] for cell in cells)
            assert cells[9][1] - cells[0][1] >= 2 * 20_000_000  # behind two rounds of four
            assert sut.waiting_count == 0

    # Not grpcio: it may refuse a stream that it allowed, when the one before is not quite gone.
    flags = ("--model", "synthetic", "--service-time", "constant:20", "--max-streams", "4")
    with sut_server(*flags) as server:
        run(work(f"grpc://{server.host_port}"))


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
def test_tls_with_an_own_authority_and_a_client_certificate(adapter: str, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    cert, key = authority.issue("server")
    client_cert, client_key = authority.issue("client")
    own: dict[str, Any] = {"tls_cert": str(client_cert), "tls_key": str(client_key)}

    async def work(target: str) -> None:
        async with opened(adapter, target, tls_ca=str(authority.certificate), **own) as (
            [sut],
            answers,
        ):
            for number in range(100):
                sut.issue(number, PARTS, 1)
                sut.flush()
            await answers.wait_for(100)
            assert [event for event in answers.by_key.values() if event[2]] == []
        for wrong in ({"tls_ca": str(other.certificate), **own}, {"tls_ca": ""}):
            with pytest.raises(SutError) as caught:
                async with opened(adapter, target, connect_timeout_ms=1000, **wrong):
                    pass
            assert "\n" not in str(caught.value)

    flags = ["--tls-cert", str(cert), "--tls-key", str(key)]
    flags += ["--tls-client-ca", str(authority.certificate)]
    with sut_server("--model", "null", *flags) as server:
        run(work(f"grpcs://{server.host_port}"))


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
