"""The OpenAI adapter against sut-server and against servers that misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from adapter_rig import WAIT_S, run
from openai_server import openai_server, opened_openai, request

from loadgen_service.core.records.token_rows import CountedBy
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError, UserError
from loadgen_service.sut.http.pool import REST_S
from loadgen_service.sut.openai.control import OpenAiControl

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def test_many_streams_at_once_are_answered_once_each() -> None:
    async def work(target: str) -> None:
        async with opened_openai(f"openai://{target}") as ([sut], answers):
            for key in range(60):
                sut.issue(key, request(), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(60)
            for key, event in answers.by_key.items():
                assert event[2:5] == (0, None, "")
                assert event[5] == (5, 3, CountedBy.USAGE)
                assert len(answers.pieces[key]) == 5
            assert answers.repeats == 0
            connections = sut.link_count  # type: ignore[attr-defined]
            assert connections <= 60
            for first in (60, 120):
                # At first each connection rests a while, in case the server closes it.
                await asyncio.sleep(2 * REST_S if first == 60 else 0)
                for key in range(first, first + 60):
                    sut.issue(key, request(), time.monotonic_ns())
                sut.flush()
                await answers.wait_for(first + 60)
                assert sut.link_count == connections  # type: ignore[attr-defined]

    with openai_server("--token-count", "constant:5") as target:
        run(work(target))


def test_calls_wait_where_connections_are_limited() -> None:
    async def work(target: str) -> None:
        async with opened_openai(f"openai://{target}", max_connections=2) as ([sut], answers):
            cells = [sut.issue(key, request(), time.monotonic_ns()) for key in range(6)]
            sut.flush()
            assert sut.waiting_count >= 4
            await answers.wait_for(6)
            assert sut.blocked_count >= 4
            assert all(cell[1] >= cell[0] for cell in cells)
            assert sut.link_count == 2  # type: ignore[attr-defined]

    with openai_server("--token-count", "constant:3") as target:
        run(work(target))


def test_refusals_keep_the_connection_and_name_the_cause() -> None:
    async def work(target: str) -> None:
        async with opened_openai(f"openai://{target}") as ([sut], answers):
            sut.issue(1, request("unknown"), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(1)
            text = "HTTP 404: no model 'unknown' here; there is synthetic-stream"
            assert answers.by_key[1][2:5] == (5, None, text)
            await asyncio.sleep(2 * REST_S)
            sut.issue(2, request(streaming=False, max_tokens=2), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(2)
            assert answers.by_key[2][5] == (2, 3, CountedBy.USAGE)
            assert sut.link_count == 1  # type: ignore[attr-defined]

    with openai_server() as target:
        run(work(target))


def test_a_cancelled_stream_is_silent_and_the_server_hears_of_it() -> None:
    async def work(target: str) -> None:
        async with opened_openai(f"openai://{target}") as ([sut], answers):
            sut.issue(1, request(), time.monotonic_ns())
            sut.flush()
            async with asyncio.timeout(WAIT_S):
                while 1 not in answers.pieces:
                    await asyncio.sleep(0.005)
            sut.cancel(1)
            sut.issue(2, request("unknown"), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(1)
            assert set(answers.by_key) == {2}

    flags = ("--token-count", "constant:5000", "--token-time", "constant:20", "--drain-ms", "100")
    with openai_server(*flags) as target:
        run(work(target))


async def served(serve: Serve, check: Callable[[str], Awaitable[None]]) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await check(f"openai://127.0.0.1:{port}")
    finally:
        server.close()


def misbehaving(*writes: bytes, close: bool = True) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for data in writes:
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0.01)
        except (OSError, asyncio.IncompleteReadError):
            pass
        if close:
            writer.close()

    return serve


@pytest.mark.parametrize(
    ("writes", "code", "text"),
    [
        ((), 255, "before the answer's end"),
        ((b"garbage\r\n\r\n",), 13, "not HTTP/1.1"),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nda",), 255, "before the answer's end"),
        ((HEAD + b"\r\n", CHUNK), 13, "broke off"),
        ((HEAD + b"Content-Length: 3\r\n\r\nxyz",), 13, "broke off"),
        ((HEAD + b"\r\n", CHUNK, b"data: [DONE]\n\n"), 0, ""),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"\r\n", CHUNK, b"data: [DONE]\n\n"), 0, ""),
    ],
)
def test_a_misbehaving_server_settles_every_call(
    writes: tuple[bytes, ...], code: int, text: str
) -> None:
    async def check(target: str) -> None:
        async with opened_openai(target) as ([sut], answers):
            sut.issue(1, request(), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(1)
            assert answers.by_key[1][2] == code
            assert text in answers.by_key[1][4]
            assert sut.waiting_count == 0

    run(served(misbehaving(*writes), check))


def test_a_server_that_closes_after_every_stream_fails_none() -> None:
    """llama.cpp's does so, without ``Connection: close`` in the head."""
    body = b"%x\r\n%b\r\n0\r\n\r\n"
    said = CHUNK + b"data: [DONE]\n\n"
    whole = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body % (len(said), said)

    async def check(target: str) -> None:
        async with opened_openai(target) as ([sut], answers):
            for key in range(12):
                sut.issue(key, request(), time.monotonic_ns())
                sut.flush()
                await answers.wait_for(key + 1)
            assert {event[2] for event in answers.by_key.values()} == {0}

    run(served(misbehaving(whole), check))


def test_with_no_server_calls_wait_a_while_and_fail_by_name() -> None:
    async def work() -> None:
        async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(quiet, "127.0.0.1", 0)
        target = f"openai://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with opened_openai(target) as ([sut], answers):
            server.close()
            async with asyncio.timeout(WAIT_S):
                while sut.link_count:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
            released_ns = time.monotonic_ns()
            sut.issue(1, request(), released_ns)
            sut.flush()
            async with asyncio.timeout(WAIT_S):
                while not answers.by_key:
                    await asyncio.sleep(0.01)
                    sut.sweep(released_ns + 2_000_000_000)
            assert answers.by_key[1][2] == 255
            assert "no connection to openai://" in answers.by_key[1][4]

    run(work())


def test_describing_finds_the_model_or_says_which_there_are() -> None:
    async def work(target: str) -> None:
        sut = [f"openai://{target}"]
        control = OpenAiControl(Settings(sut=sut, model="synthetic-stream"), 5_000_000_000)
        answers = await control.describe()
        assert [d.address for d in answers.suts] == sut
        assert answers.suts[0].decoupled
        control = OpenAiControl(Settings(sut=sut, model="m"), 5_000_000_000)
        with pytest.raises(SutError, match="lists synthetic-stream; check --model"):
            await control.describe()

    with openai_server() as target:
        run(work(target))


def test_an_api_key_comes_from_the_environment_or_a_file_only(monkeypatch) -> None:
    monkeypatch.setenv("LOADGEN_HEADER_KEY", "top-secret")
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            return
        writer.write(HEAD + b"\r\n" + CHUNK + b"data: [DONE]\n\n")
        writer.close()

    async def check(target: str) -> None:
        async with opened_openai(target, api_key="env:LOADGEN_HEADER_KEY") as ([sut], answers):
            sut.issue(1, request(), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(1)
        assert b"authorization: Bearer top-secret\r\n" in heard[0]
        with pytest.raises(UserError, match="variable NOT_SET, not set"):
            async with opened_openai(target, api_key="env:NOT_SET"):
                pass

    run(served(serve, check))
