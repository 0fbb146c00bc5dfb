"""AIPerf's client of streams, as its worker uses it: runs in AIPerf's own environment.

usage: aiperf_streams.py URL STREAMS SECONDS   prints streams, pieces and CPU seconds, as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop
from aiperf.transports.aiohttp_client import AioHttpClient  # type: ignore[import-not-found]

BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}'
HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream"}


async def main(url: str, streams: int, seconds: float) -> None:
    client = AioHttpClient(timeout=30)
    done = pieces = 0
    began, cpu = time.monotonic(), time.process_time()

    async def user() -> None:
        nonlocal done, pieces
        while time.monotonic() - began < seconds:
            record = await client.post_request(url, BODY, HEADERS)
            assert record.error is None, record.error
            # The worker leaves the JSON to another process; each event is stamped here.
            pieces += len(record.responses) - 1  # less [DONE]
            done += 1

    await asyncio.gather(*(user() for _ in range(streams)))
    spent = time.monotonic() - began
    cpu = time.process_time() - cpu
    await client.close()
    print(json.dumps({"done": done, "pieces": pieces, "cpu_s": cpu, "spent_s": spent}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
