"""A worker process: uvloop, signals, one session. The command line is in ``cli``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from loadgen_service.errors import LoadgenError, UserError
from loadgen_service.worker.host.sched_slice import ask_for_short_slices
from loadgen_service.worker.official.loadgen_thread import is_left_behind
from loadgen_service.worker.session.options import (
    TOKEN_VARIABLE,
    WorkerOptions,
    default_spill_dir,
    open_coordinator,
)
from loadgen_service.worker.session.session import Session


async def run_worker(options: WorkerOptions) -> int:
    """Serve the coordinator until it says finish (``once``), a signal comes, or it stays away."""
    if not options.spill_dir.is_dir():
        raise UserError(f"spill_dir: {options.spill_dir} is no folder; make it or name another")
    ask_for_short_slices()
    channel = open_coordinator(options)
    session = Session(options, channel)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, session.leave_on, number.name)
    try:
        return await session.run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await channel.close(None)


def parse_options(argv: Sequence[str]) -> WorkerOptions:
    """Flags of ``loadgen worker``; the token comes from a file or ``LOADGEN_TOKEN``."""
    parser = argparse.ArgumentParser(
        prog="loadgen worker", description="Issue the runs of a LoadGen service."
    )
    add = parser.add_argument
    add("--coordinator", required=True, metavar="HOST:PORT", help="the LoadGen service")
    add("--token-file", default="", help="file with its token; else $LOADGEN_TOKEN")
    add("--tls-ca", default="", help="PEM file of the authority that signed its certificate")
    add("--tls-cert", default="", help="PEM file of our certificate")
    add("--tls-key", default="", help="PEM file of its key")
    add("--tls-server-name", default="", help="name expected in the service's certificate")
    add("--insecure", action="store_true", help="plain text to another host")
    add("--spill-dir", default="", help="folder of record blocks; default: shared memory")
    add("--once", action="store_true", help="leave after the first run")
    add("--with-parent", action="store_true", help="leave when the starting process ends")
    add("--label", action="append", default=[], help="told to the service; may be repeated")
    given = parser.parse_args(argv)
    return WorkerOptions(
        coordinator=given.coordinator,
        token=_token(given.token_file),
        tls_ca=given.tls_ca,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        tls_server_name=given.tls_server_name,
        insecure=given.insecure,
        spill_dir=Path(given.spill_dir) if given.spill_dir else default_spill_dir(),
        once=given.once,
        with_parent=given.with_parent,
        labels=tuple(given.label),
    )


def _token(path: str) -> str:
    if not path:
        return os.environ.get(TOKEN_VARIABLE, "")
    try:
        token = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"token_file: cannot read {path} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"token_file {path}: not text; write the one token there") from None
    if len(token.split()) != 1 or not token.isascii():
        raise UserError(f"token_file {path}: write one token there, and nothing else")
    return token


def main(argv: Sequence[str] | None = None) -> int:
    """The ``worker`` verb; returns the exit code."""
    try:
        options = parse_options(sys.argv[1:] if argv is None else argv)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(run_worker(options))
        if is_left_behind():
            # Its thread would call into an interpreter that is being taken down.
            sys.stderr.flush()
            os._exit(code)
        return code
    except LoadgenError as error:
        print(f"loadgen worker: {error}", file=sys.stderr)
        return error.exit_code
