"""The command ``sut-server``: flags to options, one ready line, and an orderly end on a signal."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import uvloop
from host_tuning.malloc import keep_freed_memory

from sut_server.errors import HangError, UsageError, printable
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
    except HangError as error:
        _tell(str(error))
        _leave(EXIT_USAGE)
    except UsageError as error:
        _tell(str(error))
        return EXIT_USAGE
    except MemoryError:
        _tell("there is not enough memory to start: raise its limit (ulimit -v), or serve less")
        return EXIT_USAGE
    return 0


async def _serve(options: ServeOptions) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    starting = loop.create_task(start(options))
    ended = loop.create_task(stopped.wait())
    await asyncio.wait((starting, ended), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        _tell("ended by a signal before it was ready")
        _leave()  # load() may run for ever, on a thread that nobody can end
    server = await starting
    if server.metrics_port is not None:
        print(f"sut-server: metrics on port {server.metrics_port}", file=sys.stderr, flush=True)
    # What is loaded lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    names = printable(", ".join(server.engines))
    print(f"sut-server: {names} ready on {server.address}", flush=True)
    if server.http_address:
        print(f"sut-server: HTTP ready on {server.http_address}", flush=True)
    if server.openai_address:
        print(f"sut-server: OpenAI ready on {server.openai_address}/v1", flush=True)
    await stopped.wait()
    await server.stop()
    stuck = server.running()
    if stuck:
        drained = f"within --drain-ms {options.drain_ms}"
        _tell(f"{', '.join(stuck)}: has not returned {drained}; ended without it")
        _leave()


def _leave(code: int = 0) -> NoReturn:
    """End the process, whatever its threads do: an ordinary exit would wait for them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell(line: str) -> None:
    print(f"sut-server: {printable(line)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
