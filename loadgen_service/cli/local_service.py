"""The LoadGen service inside this process, with worker processes on this host: plain ``run``.

The same service and the same workers as on many hosts; only their start and end are here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from socket import gethostname

from loadgen_service.cli.service_client import ServiceClient, open_client
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.fleet.local import LocalWorkers
from loadgen_service.service.server import serve


@asynccontextmanager
async def local_service(
    worker_count: int, results: str, say: Callable[[str], None]
) -> AsyncIterator[ServiceClient]:
    """A service on a free loopback port with ``worker_count`` workers; ends both, in order.

    ``say`` gets one line for a worker process that ends by itself.
    """
    settings = ServeSettings.model_validate({"port": 0, "results": results})
    service = await serve(settings, embedded=True)

    def worker_left(pid: int, reason: str) -> None:
        say(f"worker process {pid} ended: {reason}")
        service.worker_left(pid, gethostname(), reason)

    try:
        workers = LocalWorkers(worker_count, service.address, service.token, on_exit=worker_left)
        client = open_client(service.address, service.token)
        try:
            await workers.start()
            yield client
        finally:
            await client.close()
            await workers.stop()
    finally:
        await service.stop()
