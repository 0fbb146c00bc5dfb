"""Streams a second of CPU: our OpenAI adapter beside aiohttp and AIPerf, against canned answers.

usage: python bench/streams.py [SECONDS [CLIENT]]

We and aiohttp read every event, parse its JSON and stamp each piece; AIPerf's client stamps and
leaves the JSON to another process, as its worker does. The server answers at once from ready
bytes in a process of its own, so that the clients are what is measured; on shared cores a second
of the client's CPU time is the honest unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import uvloop
from processes import (
    AIPERF_VENV,
    CLIENT_CORE,
    PEERS,
    SERVER_CORE,
    MissingPeer,
    RowFailed,
    output_of,
)

from loadgen_service.core.settings import Settings
from loadgen_service.sut.factory import open_suts
from loadgen_service.sut.interface import DONE, MESSAGE
from loadgen_service.sut.openai.request import OpenAiBuilder, common_fields

AIPERF_PYTHON = AIPERF_VENV / "bin" / "python"
PIECES = 64
WRITES = 16
STREAMS = 32


def event(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def canned() -> list[bytes]:
    """One answer, in as many writes."""
    events = [event(number) for number in range(PIECES)]
    step = PIECES // WRITES
    writes = [b"".join(events[at : at + step]) for at in range(0, PIECES, step)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    writes[0] = head + b"Transfer-Encoding: chunked\r\n\r\n" + writes[0]
    end = b"data: [DONE]\n\n"
    writes[-1] += b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end)
    return writes


class Canned(asyncio.Protocol):
    def __init__(self) -> None:
        self.held = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.held += data
        if self.held.endswith(b"}"):  # the body's end: one request at a time
            self.held = b""
            self.write(0)

    def write(self, number: int) -> None:
        self.transport.write(WRITTEN[number])
        if number + 1 < WRITES:
            asyncio.get_running_loop().call_soon(self.write, number + 1)


WRITTEN = canned()


def serve(pipe: Connection) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(forever())


async def ours(port: int, seconds: float) -> tuple[int, int]:
    common = common_fields("m", True, {})
    sample = b'{"messages":[{"role":"user","content":"a"}]}'
    parts = OpenAiBuilder(common, lambda _: [sample]).build((0,))
    done = pieces = 0
    ended = asyncio.Event()
    deadline = time.monotonic() + seconds

    def sink(now_ns: int, events: Any) -> None:
        nonlocal done, pieces
        for one in events:
            if one[0] == MESSAGE:
                pieces += 1
            elif one[0] == DONE:
                assert one[2] == 0, one
                done += 1
                if time.monotonic() > deadline:
                    ended.set()
                else:
                    sut.issue(done + STREAMS, parts, now_ns)
        sut.flush()

    settings = Settings(sut=[f"openai://127.0.0.1:{port}/v1"], model="m", connections=STREAMS)
    [sut] = await open_suts(settings, sink, streaming=True)
    for key in range(STREAMS):
        sut.issue(key, parts, time.monotonic_ns())
    sut.flush()
    await ended.wait()
    await sut.close()
    return done, pieces


async def aiohttp_client(port: int, seconds: float) -> tuple[int, int]:
    import aiohttp

    done = pieces = 0
    deadline = time.monotonic() + seconds
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "a"}]}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def user(session: aiohttp.ClientSession) -> None:
        nonlocal done, pieces
        while time.monotonic() < deadline:
            stamps = []
            async with session.post(url, json=body) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        stamps.append(time.monotonic_ns())
                        pieces += bool(json.loads(line[6:])["choices"][0]["delta"]["content"])
            done += 1

    connector = aiohttp.TCPConnector(limit=STREAMS)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(user(session) for _ in range(STREAMS)))
    return done, pieces


async def aiperf_client(port: int, seconds: float) -> dict[str, float]:
    """The client that AIPerf's worker calls, in AIPerf's own environment."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    program = str(PEERS / "aiperf_streams.py")
    argv = [str(AIPERF_PYTHON), program, url, str(STREAMS), str(seconds)]
    text = await asyncio.to_thread(output_of, argv, CLIENT_CORE)
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


@contextlib.contextmanager
def canned_server() -> Iterator[int]:
    """The port of a server of ready bytes, on the server's core, until the block ends."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    assert server.pid is not None
    os.sched_setaffinity(server.pid, {SERVER_CORE})
    try:
        yield here.recv()
    finally:
        server.terminate()
        server.join(5)


CLIENTS = {"ours": ours, "aiohttp": aiohttp_client}


def measure(name: str, port: int, seconds: float) -> dict[str, float]:
    """What one client did: ``done`` streams, ``pieces``, ``cpu_s`` and ``spent_s``."""
    if name == "aiperf":
        if not AIPERF_PYTHON.exists():
            raise MissingPeer(f"AIPerf is not in {AIPERF_VENV.name}: make bench-setup")
        found = asyncio.run(aiperf_client(port, seconds))
    else:
        began, cpu = time.monotonic(), time.process_time()
        done, pieces = uvloop.run(CLIENTS[name](port, seconds))
        spent_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
        found = {"done": done, "pieces": pieces, "cpu_s": cpu_s, "spent_s": spent_s}
    if found["pieces"] < found["done"] * PIECES:
        raise RowFailed(f"{name}: {found['pieces']:.0f} pieces of {found['done']:.0f} streams")
    return found


def main(seconds: float, names: Sequence[str]) -> None:
    with canned_server() as port:
        os.sched_setaffinity(0, {CLIENT_CORE})
        for name in names:
            found = measure(name, port, seconds)
            rate, whole = found["done"] / found["cpu_s"], found["done"] / found["spent_s"]
            print(
                f"{name:8} {whole:8.0f} streams/s of {PIECES} pieces, {rate:8.0f} a second of CPU, "
                f"{found['cpu_s'] / found['pieces'] * 1e6:.2f} us a piece"
            )


if __name__ == "__main__":
    given = sys.argv[2:] or [*CLIENTS, "aiperf"]
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, given)
