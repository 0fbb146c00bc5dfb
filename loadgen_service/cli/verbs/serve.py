"""``loadgen serve``: the LoadGen service, for runs and workers of other hosts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from loadgen_service.cli.flags import given_flags, model_parser
from loadgen_service.cli.memory import keep_batch_memory
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.settings.serve import ServeSettings

if TYPE_CHECKING:
    from loadgen_service.service.server import Service
    from loadgen_service.web.server import WebServer

SERVE_PREFIX: Final = "LOADGEN_SERVE_"
"""Not LOADGEN_ alone: Kubernetes sets LOADGEN_PORT for every pod beside a service of that name."""


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or Ctrl-C; runs then drain and write what they have."""
    parser = model_parser("loadgen serve", __doc__ or "", ServeSettings)
    namespace = parser.parse_strictly(argv)
    settings = read_settings(
        ServeSettings,
        given_flags(namespace, ServeSettings),
        os.environ,
        namespace.config,
        SERVE_PREFIX,
    )
    import uvloop

    keep_batch_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
    return 0


async def _serve(settings: ServeSettings) -> None:
    from loadgen_service.service.server import serve

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    service = await serve(settings)
    try:
        web = await _open_web(service, settings)
    except BaseException:
        await service.stop(drain_s=0)
        raise
    for line in service.recovered:
        print(f"loadgen serve: recovered {line}", file=sys.stderr)
    print(f"loadgen serve: ready on {service.address}", flush=True)
    await stopped.wait()
    await service.stop()
    if web is not None:
        await web.stop()


async def _open_web(service: Service, settings: ServeSettings) -> WebServer | None:
    if settings.http_port is None and settings.metrics_port is None:
        return None
    from loadgen_service.web.server import serve_web

    web = await serve_web(service, settings)
    for line in web.lines:
        print(f"loadgen serve: {line}", file=sys.stderr)
    return web
