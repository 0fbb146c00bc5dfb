"""A KServe v2 server that ends its connections politely again and again: GOAWAY every few answers.

``python goaway_sut.py HOST PORT ANSWERS``. Stands before a real ``sut-server`` on loopback of the
same host as a proxy would: it answers by ``grpc_wire``'s server half with that server's answers.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio
from grpc_wire.messages import frame_message
from grpc_wire.server import REQUEST, ServerConnection

BEHIND = "127.0.0.1:9001"


class Proxy(asyncio.Protocol):
    """One connection: passes unary calls on, and says GOAWAY after ``answers`` of them."""

    def __init__(self, channel: grpc.aio.Channel, answers: int) -> None:
        self._channel = channel
        self._left = answers
        self._wire = ServerConnection()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wire.start()
        self._write()

    def data_received(self, data: bytes) -> None:
        for event in self._wire.receive(data):
            if event[0] == REQUEST:
                task = asyncio.get_running_loop().create_task(self._pass_on(event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self._write()

    async def _pass_on(self, event: tuple) -> None:
        stream_id, path, message = event[1], event[2], event[3]
        call = self._channel.unary_unary(path.decode() if isinstance(path, bytes) else path)
        try:
            self._wire.respond(stream_id, frame_message(await call(bytes(message))))
        except grpc.aio.AioRpcError as error:
            self._wire.finish(stream_id, error.code().value[0], error.details() or "")
        self._left -= 1
        if self._left == 0:
            self._wire.goaway()
        self._write()

    def _write(self) -> None:
        for piece in self._wire.take_output():
            self._transport.write(piece)


async def main(host: str, port: int, answers: int) -> None:
    channel = grpc.aio.insecure_channel(BEHIND)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Proxy(channel, answers), host, port)
    print("goaway ready on", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
