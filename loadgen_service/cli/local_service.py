"""The LoadGen service inside this process, with worker processes on this host: plain ``run``.

The same service and the same workers as on many hosts; only their start and end are here.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import gethostname
from typing import TYPE_CHECKING

from loadgen_service.cli.service_client import ServiceClient, open_client
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.fleet.local import LocalWorkers
from loadgen_service.service.server import Service, serve

if TYPE_CHECKING:
    from loadgen_service.web.server import WebServer


@dataclass(frozen=True, slots=True)
class LocalPorts:
    """HTTP ports on loopback beside the service; None: no such port.

    ``linger_s``: how long a last scrape of the final figures is waited for.
    """

    http_port: int | None = None
    metrics_port: int | None = None
    linger_s: float = 0.0


@asynccontextmanager
async def local_service(
    worker_count: int,
    results: str,
    say: Callable[[str], None],
    ports: LocalPorts = LocalPorts(),
) -> AsyncIterator[ServiceClient]:
    """A service on a free loopback port with ``worker_count`` workers; ends both, in order.

    ``say`` gets one line for a worker process that ends by itself.
    """
    settings = ServeSettings.model_validate(
        {
            "port": 0,
            "results": results,
            "http_port": ports.http_port,
            "metrics_port": ports.metrics_port,
        }
    )
    service = await serve(settings, embedded=True)

    def worker_left(pid: int, reason: str) -> None:
        say(f"worker process {pid} ended: {reason}")
        service.worker_left(pid, gethostname(), reason)

    web: WebServer | None = None
    try:
        web = await _open_web(service, settings, say)
        workers = LocalWorkers(worker_count, service.address, service.token, on_exit=worker_left)
        client = open_client(service.address, service.token)
        try:
            await workers.start()
            yield client
            if web is not None:
                await _linger(web, ports.linger_s, say)
        finally:
            await client.close()
            await workers.stop()
    finally:
        await service.stop()
        if web is not None:
            await web.stop()


async def _open_web(
    service: Service, settings: ServeSettings, say: Callable[[str], None]
) -> WebServer | None:
    if settings.http_port is None and settings.metrics_port is None:
        return None
    from loadgen_service.web.server import serve_web

    web = await serve_web(service, settings, embedded=True)
    for line in web.lines:
        say(line)
    return web


async def _linger(web: WebServer, limit_s: float, say: Callable[[str], None]) -> None:
    """The final figures must be scraped once; a signal ends the waiting, not the command."""
    if limit_s <= 0:
        return
    say(f"waiting up to {limit_s:g} s for the last scrape of {web.metrics_url} (Ctrl-C: not)")
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(web.wait_for_scrape(limit_s))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, waiting.cancel)
    try:
        await asyncio.wait({waiting})
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if waiting.cancelled() or not waiting.result():
        say("nobody scraped the final figures")
