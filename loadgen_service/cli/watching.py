"""Follows one run from its start to its final status; Ctrl-C asks it to drain, twice to give up."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.cli.live_view import View
from loadgen_service.cli.service_client import ServiceClient
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError

VALID, INVALID, UNFINISHED = 0, 1, 3
STOPPING: Final = "stopping: waiting for the queries that are out (Ctrl-C again gives them up)"
GIVING_UP: Final = "giving up the queries that are out"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. ``summary_json`` is empty where there was nothing to sum up."""

    run_id: str
    exit_code: int
    directory: str
    summary_json: str = ""
    error: str = ""

    def moved_to(self, directory: str) -> Ended:
        """The same, with its files downloaded elsewhere."""
        return replace(self, directory=directory)


async def run_to_end(client: ServiceClient, settings: Settings, view: View) -> Ended:
    """Start a run, show it, and give how it ended. Raises LoadgenError where it cannot start."""
    started = await client.start(settings.model_dump_json())
    last: pb.RunStatus | None = None
    with _stop_on_signals(client, started.run_id, view):
        async for status in client.watch(started.run_id):
            view.show(status)
            last = status
    if last is None:
        raise RunError(f"run {started.run_id}: the service said nothing about it")
    return ending(last)


def ending(status: pb.RunStatus) -> Ended:
    """The exit code and words of a final status: 0 VALID, 1 INVALID, 2 the user's mistake, 3."""
    code = UNFINISHED
    if status.state == pb.DONE:
        valid = json.loads(status.summary_json).get("valid")
        code = {True: VALID, False: INVALID}.get(valid, UNFINISHED)
    elif status.state == pb.FAILED:
        code = status.error_exit_code or UNFINISHED
    error = status.error
    if status.state == pb.INTERRUPTED:
        error = "INTERRUPTED: " + (
            "the results are partial" if status.summary_json else "before anything was issued"
        )
    return Ended(status.run_id, code, status.run_directory, status.summary_json, error)


@contextmanager
def _stop_on_signals(client: ServiceClient, run_id: str, view: View) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[None]] = set()
    asked = 0

    def stop() -> None:
        nonlocal asked
        view.say(GIVING_UP if asked else STOPPING)
        asked += 1
        stops.add(loop.create_task(client.stop(run_id)))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
