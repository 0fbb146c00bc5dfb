"""A tiny hand-written HTTP server whose metrics, and whose faults, a test writes itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[["MetricsServer", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class MetricsServer:
    """``requests``: every head that came, whole."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    end: Callable[[], None] = lambda: None


@asynccontextmanager
async def metrics_server(answer: Answer) -> AsyncIterator[MetricsServer]:
    """Serves until the block ends; ``server.end()`` stops listening before that."""
    told = MetricsServer()
    open_ones: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            told.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await answer(told, writer)
        writer.close()
        open_ones.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    told.url, told.end = f"http://{host}:{port}/metrics", server.close
    try:
        yield told
    finally:
        server.close()
        for writer in open_ones:
            writer.transport.abort()


def text_answer(text: str, status: str = "200 OK", head: str = "") -> bytes:
    """A whole answer that tells its length."""
    body = text.encode()
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(content: bytes) -> Answer:
    """The same bytes to everyone."""

    async def answer(_: MetricsServer, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return answer


async def endless(_: MetricsServer, writer: asyncio.StreamWriter) -> None:
    """A body that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"a_metric 1\n" * 10_000)
        await writer.drain()


async def silent(_: MetricsServer, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing."""
    await asyncio.Event().wait()
