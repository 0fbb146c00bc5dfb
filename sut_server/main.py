"""The command ``sut-server``: flags to options, one ready line, and an orderly end on a signal."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Sequence
from typing import Final

import uvloop
from host_tuning.malloc import keep_freed_memory

from sut_server.errors import UsageError
from sut_server.options import ServeOptions, parse_options
from sut_server.server import start

EXIT_USAGE: Final = 2
KEPT_BYTES: Final = 256 << 20
"""Freed memory that waits for the next large requests."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A request leaves no cycles behind, so collections may be rare; 50,000 objects are a few MB."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code (0, or 2 with one line on stderr)."""
    try:
        options = parse_options(sys.argv[1:] if argv is None else argv)
        keep_freed_memory(KEPT_BYTES)
        uvloop.run(_serve(options))
    except UsageError as error:
        print(f"sut-server: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


async def _serve(options: ServeOptions) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await start(options)
    if server.metrics_port is not None:
        print(f"sut-server: metrics on port {server.metrics_port}", file=sys.stderr, flush=True)
    # What is loaded lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    print(f"sut-server: {', '.join(server.engines)} ready on {server.address}", flush=True)
    if server.http_address:
        print(f"sut-server: HTTP ready on {server.http_address}", flush=True)
    if server.openai_address:
        print(f"sut-server: OpenAI ready on {server.openai_address}/v1", flush=True)
    await stopped.wait()
    await server.stop()


if __name__ == "__main__":
    sys.exit(main())
