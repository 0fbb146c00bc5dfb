"""Follows one run from its start to its final status; Ctrl-C asks it to drain, twice to give up."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.cli.progress_view import View
from loadgen_service.cli.service_client import ServiceClient, ServiceLost
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError, UserError

VALID, INVALID, UNFINISHED = 0, 1, 3
STOPPING: Final = "stopping: waiting for the queries that are out (Ctrl-C again gives them up)"
AWAY_S: Final = 30.0
"""As long as a worker goes on without its service."""

AGAIN_S: Final = 0.5
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
    return await watch_to_end(client, await client.start(settings.model_dump_json()), view)


async def watch_to_end(client: ServiceClient, started: pb.StartRunReply, view: View) -> Ended:
    """Show a run that was started, and give how it ended. Raises RunError where nothing is said."""
    last: pb.RunStatus | None = None
    with _stop_on_signals(client, started.run_id, view):
        async for status in _statuses(client, started.run_id, view):
            view.show(status)
            last = status
    if last is None:
        raise RunError(f"run {started.run_id}: the service said nothing about it")
    return ending(last)


async def _statuses(client: ServiceClient, run_id: str, view: View) -> AsyncIterator[pb.RunStatus]:
    """Every status until the final one; a service that is away for ``AWAY_S`` at most is awaited.

    Raises RunError where it stays away, or comes back without the run.
    """
    loop = asyncio.get_running_loop()
    lost_at: float | None = None
    while True:
        try:
            async for status in client.watch(run_id):
                if lost_at is not None:
                    view.say("the service is back; the run goes on")
                    lost_at = None
                yield status
            return
        except ServiceLost as error:
            if lost_at is None:
                lost_at = loop.time()
                view.say(f"{error}; waiting up to {AWAY_S:g} s for it")
            if loop.time() - lost_at > AWAY_S:
                raise
        except UserError as error:
            if lost_at is None:
                raise
            raise RunError(
                f"run {run_id}: the service was started again without it ({error}); what it "
                "recorded lies in the service's results folder"
            ) from None
        await asyncio.sleep(AGAIN_S)


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
