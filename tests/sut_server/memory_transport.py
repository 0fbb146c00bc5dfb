"""A connection of the server and a client, through a transport in memory."""

from __future__ import annotations

import asyncio

from grpc_wire.client import ClientConnection
from grpc_wire.events import DONE
from grpc_wire.headers import request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from grpc_wire.windows import Piece

from sut_server.engines.calls import Call
from sut_server.engines.null import ReadyAnswer, null_spec
from sut_server.grpc.connection import Connections, KserveConnection


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; remembers being paused and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_reading = True
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return len(self.written)


class Pair:
    """A KserveConnection and a client that share one turn of the loop at a time."""

    def __init__(self, ready_path: bytes | None = None) -> None:
        self.calls: dict[bytes, Call] = {}
        self.ready_count = 0
        self.views = 0
        """Requests that were read in place."""
        self.shared = Connections(
            handle=self._handle,
            clock_ns=lambda: 4321,
            make_wire=ServerConnection,
            ready_path=ready_path,
            ready_answer=ReadyAnswer(null_spec()).to,
            count_ready=self._count,
        )
        self.transport = MemoryTransport()
        self.server = KserveConnection(self.shared)
        self.client = ClientConnection()
        self.client.start()
        self.server.connection_made(self.transport)
        self.client.receive(bytes(self.transport.written))  # settings: there is room for calls
        self.transport.written.clear()

    def call(self, key: int, path: str, message: bytes) -> None:
        headers = request_headers(path=path, authority="test")
        assert self.client.call(key, headers, frame_message(message))

    def arrive(self, data: bytes) -> None:
        """What a transport does with what a socket holds: it reads to where it is told."""
        while data:
            memory = self.server.get_buffer(-1)
            count = min(len(data), len(memory))
            memory[:count] = data[:count]
            self.server.buffer_updated(count)
            data = data[count:]

    async def turn(self) -> list[tuple]:
        """Carry bytes both ways; the client's events."""
        output = b"".join(self.client.take_output())
        if output:
            self.arrive(output)
        await asyncio.sleep(0)
        received = bytes(self.transport.written)
        self.transport.written.clear()
        return list(self.client.receive(received)) if received else []

    def _handle(self, call: Call, path: bytes, message: Piece) -> None:
        self.calls[bytes(message)] = call
        self.views += isinstance(message, memoryview)

    def _count(self, count: int, now_ns: int) -> None:
        assert now_ns == 4321
        self.ready_count += count


def done(events: list[tuple]) -> dict[int, tuple]:
    return {event[1]: event[2:] for event in events if event[0] == DONE}
