"""A relay on loopback that keeps what callers sent, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

END_S = 10.0


@dataclass
class RecordingRelay:
    """Listens on ``port`` and hands everything on to ``target`` on loopback."""

    target: int
    port: int = 0
    sent: list[bytearray] = field(default_factory=list)
    """What each caller sent."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = bytearray()
        self.sent.append(kept)
        back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(_pump(reader, forth, kept), _pump(back, writer, bytearray()))


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            kept += data
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def recording_relay(target: int) -> Iterator[RecordingRelay]:
    """A relay to ``target`` until the block ends, on a thread of its own."""
    relay = RecordingRelay(target)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def listen() -> None:
        server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        ready.set()

    def work() -> None:
        loop.run_until_complete(listen())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(END_S)
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(END_S)
