"""Closed loop over grpc_wire alone: HOST:PORT OUTSTANDING SECONDS [ELEMENTS].

What the wire can do without schedule, records, collector and service: the product's ceiling.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import uvloop
from grpc_wire.client import DONE, ClientConnection
from grpc_wire.headers import request_headers
from grpc_wire.messages import frame_message

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from requests_file import infer_request


class Loop(asyncio.Protocol):
    """One connection that holds ``outstanding`` calls open."""

    def __init__(self, address: str, outstanding: int, seconds: float, elements: int) -> None:
        self.wire = ClientConnection()
        self.headers = request_headers(
            path="/inference.GRPCInferenceService/ModelInfer", authority=address
        )
        self.message = frame_message(infer_request(elements))
        self.outstanding, self.seconds = outstanding, seconds
        self.done = 0
        self.ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.started = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.wire.start()
        transport.writelines(self.wire.take_output())

    def begin(self) -> None:
        """Open the calls; from here on each answer opens the next."""
        self.started = time.monotonic()
        for key in range(self.outstanding):
            self.wire.call(key, self.headers, self.message)
        self.transport.writelines(self.wire.take_output())

    def data_received(self, data: bytes) -> None:
        wire, headers, message = self.wire, self.headers, self.message
        for event in wire.receive(data):
            if event[0] == DONE:
                if event[2]:
                    raise SystemExit(f"a call failed: {event}")
                self.done += 1
                wire.call(event[1], headers, message)
        out = wire.take_output()
        if out:
            self.transport.writelines(out)
        elapsed = time.monotonic() - self.started
        if self.started and elapsed >= self.seconds and not self.ended.done():
            self.ended.set_result(self.done / elapsed)


async def main(address: str, outstanding: int, seconds: float, elements: int) -> None:
    """Print the queries a second."""
    host, _, port = address.rpartition(":")
    _, loop = await asyncio.get_running_loop().create_connection(
        lambda: Loop(address, outstanding, seconds, elements), host, int(port)
    )
    await asyncio.sleep(0.2)  # the server's settings say how many calls it takes
    loop.begin()
    print(await asyncio.wait_for(loop.ended, seconds + 20))
    loop.transport.abort()


if __name__ == "__main__":
    _, where, width, length, *rest = sys.argv
    uvloop.run(main(where, int(width), float(length), int(rest[0]) if rest else 16))
