"""All runs of a service: taken in, queued, conducted one at a time in the order they came."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from pydantic import ValidationError

from loadgen_service.core.run_state import RunEvent, RunState
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import RunError, SettingsError, UserError
from loadgen_service.service.conductor import RunConductor
from loadgen_service.service.crew import NS_PER_MS, Crew
from loadgen_service.service.recovery import DIED
from loadgen_service.service.resumption import Resumption
from loadgen_service.service.run import Run
from loadgen_service.service.security import require_allowed
from loadgen_service.service.sessions import Sessions
from loadgen_service.service.store import RunStore, new_run_id
from loadgen_service.service.totals import Totals

COME_BACK_NS = 15_000_000_000
"""Workers of a run whose service died knock three times a second, and give up after 30 s."""

REMEMBERED_RUNS = 100
"""Finished runs that ListRuns still shows; their directories stay for ever."""

_log = logging.getLogger(__name__)


class Coordinator:
    """Runs by id. ``trusted``: the asker sits on this host and may name any path and folder.

    ``conducted`` is the run that is being conducted or was last; ``totals`` has taken in every run
    that came to its end, and that one only once nothing of it can change.
    """

    def __init__(
        self, serve: ServeSettings, sessions: Sessions, store: RunStore, *, trusted: bool
    ) -> None:
        self._serve = serve
        self._store = store
        self._trusted = trusted
        self.sessions = sessions
        self.runs: OrderedDict[str, Run] = OrderedDict()
        self.totals = Totals()
        self.conducted: Run | None = None
        self._queue: asyncio.Queue[Run] = asyncio.Queue()
        self._resumptions: dict[str, Resumption] = {}
        self._working = asyncio.create_task(self._work())

    def start_run(self, settings_json: str) -> Run:
        """Take in a run. Raises UserError with one line for settings that cannot be run."""
        settings = parse_settings(settings_json)
        if not self._trusted:
            require_allowed(settings, self._serve)
        if self._queue.qsize() >= self._serve.max_queued_runs:
            raise RunError(
                f"{self._queue.qsize()} runs wait on this service already; try again later"
            )
        run_id = new_run_id()
        out = settings.out if self._trusted else ""
        run = Run(run_id, settings, self._store.create(settings.scenario, run_id, out))
        self.runs[run_id] = run
        self._forget_old_runs()
        self._queue.put_nowait(run)
        return run

    def resume(self, resumption: Resumption) -> str:
        """Go on with a run that an earlier service was killed in; one line about it.

        Before the port is open: its workers and its watchers must find it.
        """
        run = resumption.run
        until_ns = self.sessions.clock() + COME_BACK_NS
        workers = [
            self.sessions.expect(one["worker_id"], one["host"], one["pid"], until_ns)
            for one in resumption.workers
        ]
        for worker, entry in zip(workers, resumption.workers, strict=True):
            worker.run_id, worker.index = run.run_id, entry["worker_index"]
        run.crew = Crew(self.sessions, workers, run.settings.heartbeat_lost_ms * NS_PER_MS)
        self.runs[run.run_id] = run
        self._resumptions[run.run_id] = resumption
        self._queue.put_nowait(run)
        return f"{run.directory.path}: {DIED}; going on with it, {len(workers)} workers expected"

    def run(self, run_id: str) -> Run:
        """The run of this id. Raises UserError naming it."""
        try:
            return self.runs[run_id]
        except KeyError:
            raise UserError(f"run {run_id}: not known here; list runs to see which are") from None

    def stop_run(self, run_id: str) -> Run:
        """Ask a run to stop: it drains and writes; asked twice, it abandons what is out."""
        run = self.run(run_id)
        run.stop_requests += 1
        if run.state is RunState.QUEUED:
            run.move(RunEvent.INTERRUPTED)
        self.sessions.changed.set()
        return run

    def running(self) -> Run | None:
        """The run that has the workers now."""
        for run in self.runs.values():
            if not run.is_over and run.state is not RunState.QUEUED:
                return run
        return None

    async def _work(self) -> None:
        while True:
            run = await self._queue.get()
            if run.is_over:
                self.totals.settle(run)
                continue
            self.conducted = run
            try:
                resumption = self._resumptions.pop(run.run_id, None)
                await RunConductor(run, self.sessions, resumption).conduct()
            except Exception:
                _log.exception("run %s ended by a defect", run.run_id)
            self.totals.settle(run)

    def _forget_old_runs(self) -> None:
        over = [run_id for run_id, run in self.runs.items() if run.is_over]
        for run_id in over[: max(0, len(self.runs) - REMEMBERED_RUNS)]:
            del self.runs[run_id]

    async def close(self, drain_s: float) -> None:
        """Stop what runs, give it ``drain_s`` to write, then end."""
        for run in self.runs.values():
            if not run.is_over:
                self.stop_run(run.run_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s
        while self.running() is not None and loop.time() < deadline:
            await asyncio.sleep(0.05)
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)


def parse_settings(settings_json: str) -> Settings:
    """Settings as they came over the wire. Raises SettingsError naming the first bad field."""
    try:
        return Settings.model_validate_json(settings_json)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(message if not first["loc"] else f"{field}: {message}") from None
