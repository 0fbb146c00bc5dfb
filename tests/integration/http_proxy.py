"""A small HTTP proxy: CONNECT and absolute-form requests, from its own names to loopback."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class HttpProxy:
    """``names``: HOST:PORT as callers say it -> the port on loopback. ``status``: a refusal."""

    names: dict[str, int]
    status: str = ""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.heads.append(head.decode())
        self.asked.append(f"{method} {target}")
        origin = target.removeprefix("http://").partition("/")[0]
        status = self.status or ("" if origin in self.names else "502 Bad Gateway")
        if status:
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self.names[origin])
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            prefix = b""
        else:  # a connection stays with one server here, and requests come one by one
            prefix = f"http://{origin}".encode()
            forth.write(head.replace(prefix, b"", 1))
        await asyncio.gather(_pump(reader, forth, prefix), _pump(back, writer))


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, without: bytes = b""
) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data.replace(without, b"", 1) if without else data)
            await writer.drain()
    finally:
        writer.close()


@contextlib.contextmanager
def http_proxy(names: dict[str, int], status: str = "") -> Iterator[HttpProxy]:
    """A proxy on a thread of its own until the block ends."""
    proxy = HttpProxy(names, status)
    ready, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def live() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        loop.close()
