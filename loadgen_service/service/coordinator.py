"""All runs of a service: taken in, queued, conducted one at a time in the order they came.

The streams of a mixed run are conducted at once; they are runs here like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from loadgen_service.core.run_state import RunState
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.mixed_streams import StreamSettings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.errors import RunError, SettingsError, UserError
from loadgen_service.service.auth.policy import require_allowed
from loadgen_service.service.run.conductor import RunConductor
from loadgen_service.service.run.lifetime_totals import Totals
from loadgen_service.service.run.mixed_run import MixedRun, make_mixed
from loadgen_service.service.run.recovery import DIED
from loadgen_service.service.run.resumption import Resumption
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import LeasedWorkers, Sessions
from loadgen_service.service.storage.run_directory import RunDirectories, new_run_id

COME_BACK_NS = 15_000_000_000
"""Workers of a run whose service died knock three times a second, and give up after 30 s."""

REMEMBERED_RUNS = 100
"""Finished runs that ListRuns still shows; their directories stay for ever."""

_log = logging.getLogger(__name__)


class Coordinator:
    """Runs by id. ``trusted``: the asker sits on this host and may name any path and folder.

    ``conducted`` is the run that is being conducted or was last, or the streams of a mixed one;
    ``totals`` has taken in every run that came to its end, and those only once nothing of them can
    change.
    """

    def __init__(
        self, serve: ServeSettings, sessions: Sessions, store: RunDirectories, *, trusted: bool
    ) -> None:
        self._serve = serve
        self._store = store
        self._trusted = trusted
        self.sessions = sessions
        self.runs: OrderedDict[str, Run] = OrderedDict()
        self.mixed: OrderedDict[str, MixedRun] = OrderedDict()
        self.totals = Totals()
        self.conducted: tuple[Run, ...] = ()
        self._queue: asyncio.Queue[Run | MixedRun] = asyncio.Queue()
        self._resumptions: dict[str, Resumption] = {}
        self._working = asyncio.create_task(self._work())

    def start_run(self, settings_json: str) -> Run:
        """Take in a run. Raises UserError with one line for settings that cannot be run."""
        settings = self._settings(settings_json)
        self._require_room()
        run_id = new_run_id()
        out = settings.out if self._trusted else ""
        run = Run(run_id, settings, self._store.create(settings.scenario, run_id, out))
        self.runs[run_id] = run
        self._forget_old_runs()
        self._queue.put_nowait(run)
        return run

    def start_mixed(self, settings_json: str, streams: Sequence[tuple[str, str]]) -> MixedRun:
        """Take in a mixed run of ``(name, settings)``; of ``settings_json`` only ``out`` counts.

        Raises UserError with one line for settings that cannot be run, or not beside each other.
        """
        out = parse_settings(settings_json).out if self._trusted else ""
        named = [StreamSettings(name, self._settings(text)) for name, text in streams]
        self._require_room()
        run_id = new_run_id()
        mixed = make_mixed(run_id, named, lambda: self._store.create("mixed", run_id, out))
        self.mixed[run_id] = mixed
        self.runs.update((run.run_id, run) for run in mixed.streams)
        self._forget_old_runs()
        self._queue.put_nowait(mixed)
        return mixed

    def _settings(self, settings_json: str) -> Settings:
        settings = parse_settings(settings_json)
        if not self._trusted:
            require_allowed(settings, self._serve)
        return settings

    def _require_room(self) -> None:
        waiting = self._queue.qsize()
        if waiting >= self._serve.max_queued_runs:
            raise RunError(f"{waiting} runs wait on this service already; try again later")

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
        run.leased = LeasedWorkers(
            self.sessions, workers, run.settings.heartbeat_lost_ms * NS_PER_MS
        )
        self.runs[run.run_id] = run
        self._resumptions[run.run_id] = resumption
        self._queue.put_nowait(run)
        return f"{run.directory.path}: {DIED}; going on with it, {len(workers)} workers expected"

    def run(self, run_id: str) -> Run | MixedRun:
        """The run of this id. Raises UserError naming it."""
        found = self.runs.get(run_id) or self.mixed.get(run_id)
        if found is None:
            raise UserError(f"run {run_id}: not known here; list runs to see which are")
        return found

    def stop_run(self, run_id: str) -> Run | MixedRun:
        """Ask a run to stop: it drains and writes; asked twice, it abandons what is out."""
        run = self.run(run_id)
        run.stop()
        self.sessions.changed.set()
        return run

    def is_busy(self) -> bool:
        """Whether some run has workers, or is being written."""
        return any(not run.is_over and run.state is not RunState.QUEUED for run in self._every())

    def _every(self) -> Iterator[Run | MixedRun]:
        yield from self.runs.values()
        yield from self.mixed.values()

    async def _work(self) -> None:
        while True:
            run = await self._queue.get()
            parts = tuple(run.streams) if isinstance(run, MixedRun) else (run,)
            if any(not part.is_over for part in parts):
                self.conducted = parts
            try:
                await self._conduct(run)
            except Exception:
                _log.exception("run %s ended by a defect", run.run_id)
            finally:
                self._store.release(run.directory)
            for part in parts:
                self.totals.settle(part)

    async def _conduct(self, run: Run | MixedRun) -> None:
        if isinstance(run, MixedRun):
            await run.conduct(self.sessions)
        elif not run.is_over:
            resumption = self._resumptions.pop(run.run_id, None)
            await RunConductor(run, self.sessions, resumption).conduct()

    def _forget_old_runs(self) -> None:
        over = [run_id for run_id, run in self.runs.items() if run.is_over]
        for run_id in over[: max(0, len(self.runs) - REMEMBERED_RUNS)]:
            del self.runs[run_id]
        for run_id in list(self.mixed)[:-REMEMBERED_RUNS]:
            if self.mixed[run_id].is_over:
                del self.mixed[run_id]

    async def close(self, drain_s: float) -> None:
        """Stop what runs, give it ``drain_s`` to write, then end."""
        for run in self._every():
            is_stream = isinstance(run, Run) and run.stream_name
            if not run.is_over and not is_stream:
                run.stop()
        self.sessions.changed.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s
        while self.is_busy() and loop.time() < deadline:
            await asyncio.sleep(0.05)
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)
        self._store.release_all()


def parse_settings(settings_json: str) -> Settings:
    """Settings as they came over the wire. Raises SettingsError naming the first bad field."""
    try:
        return Settings.model_validate_json(settings_json)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(message if not first["loc"] else f"{field}: {message}") from None
