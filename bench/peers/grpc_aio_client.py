"""Closed loop over grpc.aio with ready bytes: HOST:PORT OUTSTANDING SECONDS [ELEMENTS MODEL]."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import grpc
import grpc.aio
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from requests_file import infer_request


async def main(address: str, outstanding: int, seconds: float, elements: int, model: str) -> None:
    """Print the queries a second."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        request, done = infer_request(elements, model), 0
        await call(request)
        started = time.monotonic()

        async def loop() -> None:
            nonlocal done
            while time.monotonic() - started < seconds:
                await call(request)
                done += 1

        await asyncio.gather(*(loop() for _ in range(outstanding)))
        print(done / (time.monotonic() - started))


if __name__ == "__main__":
    _, where, width, length, *rest = sys.argv
    size, name = (int(rest[0]), rest[1]) if rest else (16, "null")
    uvloop.run(main(where, int(width), float(length), size, name))
