"""The LoadGen service inside this process, with its workers on this host or a cluster: ``run``.

The same service and the same workers as on many hosts; only their start and end are here.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

from loadgen_service.cli.memory import keep_batch_memory
from loadgen_service.cli.service_client import ClientTls, ServiceClient, open_client
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.fleet.local import LocalWorkers, let_workers_first
from loadgen_service.service.server import Service, serve

if TYPE_CHECKING:
    from loadgen_service.cli.ray_fleet import RayFleet
    from loadgen_service.fleet.ray_workers import RayWorkers
    from loadgen_service.web.server import WebServer


@dataclass(frozen=True, slots=True)
class LocalPorts:
    """HTTP ports on loopback beside the service; None: no such port.

    ``linger_s``: how long a last scrape of the final figures is waited for.
    """

    http_port: int | None = None
    metrics_port: int | None = None
    linger_s: float = 0.0


def is_command(program: str) -> bool:
    """Whether a process, by its ``sys.argv[0]``, is the ``loadgen`` command and nothing else: no
    notebook, no script or test that calls it.
    """
    path = Path(program)
    return path.name == "loadgen" or path.parts[-2:] == ("loadgen_service", "__main__.py")


@asynccontextmanager
async def local_service(
    worker_count: int,
    results: str,
    say: Callable[[str], None],
    ports: LocalPorts = LocalPorts(),
    fleet: RayFleet | None = None,
) -> AsyncIterator[ServiceClient]:
    """A service in this process with ``worker_count`` workers; ends both, in order.

    It listens on a free loopback port and its workers are processes of this host, unless a
    ``fleet`` places them. ``say`` gets one line for a worker process that ends by itself.
    A process that is the command itself keeps freed memory and steps back for its workers, neither
    of which can be taken back.
    """
    listening = fleet.serve_settings() if fleet else {"port": 0}
    try:
        if is_command(sys.argv[0]):
            keep_batch_memory()
        settings = ServeSettings.model_validate({"results": results, **listening})
        service = await serve(settings, embedded=True)
        web: WebServer | None = None
        try:
            web = await _open_web(service, ports, say)
            async with _workers_and_client(service, worker_count, say, fleet) as client:
                if fleet is None and is_command(sys.argv[0]):
                    let_workers_first()
                yield client
                if web is not None:
                    await _linger(web, ports.linger_s, say)
        finally:
            await service.stop()
            if web is not None:
                await web.stop()
    finally:
        if fleet:
            fleet.close()


@asynccontextmanager
async def _workers_and_client(
    service: Service, count: int, say: Callable[[str], None], fleet: RayFleet | None
) -> AsyncIterator[ServiceClient]:
    workers: LocalWorkers | RayWorkers
    if fleet:
        workers = fleet.workers(count, service, say)
        client = open_client(
            fleet.own_address(service), service.token, ClientTls(ca=fleet.authority), fleet.insecure
        )
    else:
        workers = _local_workers(service, count, say)
        client = open_client(service.address, service.token)
    try:
        await workers.start()
        yield client
    finally:
        await client.close()
        await workers.stop()


def _local_workers(service: Service, count: int, say: Callable[[str], None]) -> LocalWorkers:
    def left(pid: int, reason: str) -> None:
        say(f"worker process {pid} ended: {reason}")
        service.worker_left(pid, gethostname(), reason)

    return LocalWorkers(count, service.address, service.worker_token, on_exit=left)


async def _open_web(
    service: Service, ports: LocalPorts, say: Callable[[str], None]
) -> WebServer | None:
    if ports.http_port is None and ports.metrics_port is None:
        return None
    # on loopback whatever the service listens on: nobody but this host's user is to look
    settings = ServeSettings.model_validate(
        {"http_port": ports.http_port, "metrics_port": ports.metrics_port}
    )
    from loadgen_service.web.server import serve_web

    web = await serve_web(service, settings, embedded=True)
    for line in web.lines:
        say(line)
    return web


async def _linger(web: WebServer, limit_s: float, say: Callable[[str], None]) -> None:
    """The final figures must be scraped once; a signal ends the waiting, not the command."""
    if limit_s <= 0:
        return
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(web.wait_for_scrape(limit_s))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, waiting.cancel)
    # said last: whoever reads it may press Ctrl-C at once
    say(f"waiting up to {limit_s:g} s for the last scrape of {web.metrics_url} (Ctrl-C: not)")
    try:
        await asyncio.wait({waiting})
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if waiting.cancelled() or not waiting.result():
        say("nobody scraped the final figures")
