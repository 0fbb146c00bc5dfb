"""Closed loop over tritonclient.grpc.aio, inputs made once: HOST:PORT OUTSTANDING SECONDS."""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
import uvloop
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient


async def main(address: str, outstanding: int, seconds: float) -> None:
    """Print the queries a second."""
    client = InferenceServerClient(address)
    tensor = InferInput("input", [1, 16], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 16), np.float32))
    await client.infer("null", [tensor])
    done, started = 0, time.monotonic()

    async def loop() -> None:
        nonlocal done
        while time.monotonic() - started < seconds:
            await client.infer("null", [tensor])
            done += 1

    await asyncio.gather(*(loop() for _ in range(outstanding)))
    print(done / (time.monotonic() - started))
    await client.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
