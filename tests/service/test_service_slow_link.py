"""A service whose first bytes are long on the way is reached all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from service_bench import SERVER, Bench, summary_of

from loadgen_service.cli.service_client import open_client
from loadgen_service.core.settings import Settings
from loadgen_service.worker.session.options import WorkerOptions, open_coordinator

DELAY_S = 1.5
"""Longer than the longest pause between two attempts to connect."""


@asynccontextmanager
async def slow_link(address: str) -> AsyncIterator[str]:
    """``HOST:PORT`` that leads to ``address``; what the service says first waits ``DELAY_S``."""
    host, _, port = address.rpartition(":")
    tasks: set[asyncio.Task[Any] | None] = set()

    async def carry(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float = 0.0
    ) -> None:
        await asyncio.sleep(delay_s)
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer, DELAY_S))
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()


def test_a_user_reaches_the_service(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        async with slow_link(bench.service.address) as address:
            client = open_client(address, bench.service.token)
            try:
                reply = await client.start(Settings(**SERVER).model_dump_json())
                statuses = [status async for status in client.watch(reply.run_id)]
            finally:
                await client.close()
        assert summary_of(statuses[-1]).valid is True

    bench(test)


def test_a_worker_reaches_the_service(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        async with slow_link(bench.service.address) as address:
            channel = open_coordinator(WorkerOptions(address, bench.service.token))
            try:
                await channel.channel_ready()
            finally:
                await channel.close(None)

    bench(test)
