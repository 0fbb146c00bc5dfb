"""An HTTP/1.1 server whose every byte a test decides, in the shapes of servers that exist."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
"""Answers the POST of this number; the connection stays open after it."""

SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def whole(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(content: str | None = None, index: int = 0, finish: Any = None, **more: Any) -> bytes:
    said = more if content is None else {"content": content, **more}
    return event({"choices": [{"index": index, "delta": said, "finish_reason": finish}]})


def usage(prompt: int, completion: int) -> bytes:
    told = {"prompt_tokens": prompt, "completion_tokens": completion}
    return event({"choices": [], "usage": told})


async def stream(writer: asyncio.StreamWriter, *steps: tuple[float, bytes]) -> None:
    """Send an event stream: each part after so many seconds."""
    writer.write(SSE_HEAD)
    for wait_s, data in steps:
        if wait_s:
            await writer.drain()
            await asyncio.sleep(wait_s)
        writer.write(chunk(data))
    writer.write(LAST_CHUNK)
    await writer.drain()


class RawServer:
    """``port``, and ``posts``: bodies of the requests that came. GET gives ``models``."""

    def __init__(self, answer: Answer, models: bytes) -> None:
        self.port = 0
        self.posts: list[dict[str, Any]] = []
        self.connection_count = 0
        self._answer = answer
        self._models = models

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                sizes = [
                    line.split(b":")[1] for line in lines if line.startswith(b"content-length")
                ]
                body = await reader.readexactly(int(sizes[0]) if sizes else 0)
                if head.startswith(b"GET"):
                    writer.write(self._models)
                else:
                    self.posts.append(json.loads(body))
                    await self._answer(len(self.posts) - 1, writer)
                await writer.drain()
        writer.close()


LISTED = whole(200, b'{"object": "list", "data": [{"id": "m"}]}')


@contextlib.asynccontextmanager
async def raw_server(answer: Answer, models: bytes = LISTED) -> AsyncIterator[RawServer]:
    """A running server on a free port; its connections end with it."""
    made = RawServer(answer, models)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
