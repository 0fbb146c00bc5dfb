"""A mixed run: its streams, each a run of its own, conducted at once from one common start.

Before the start one stream that cannot begin ends them all; after it each goes on by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.run_state import RunState
from loadgen_service.core.settings.mixed_streams import (
    StreamSettings,
    require_mixable,
    require_names,
)
from loadgen_service.core.summary.mixed import MixedSummary, StreamSummary, mixed_to_json
from loadgen_service.core.summary.run import summary_from_json
from loadgen_service.errors import LoadgenError
from loadgen_service.service.results.mixed_results import write_mixed
from loadgen_service.service.run.clocks import StreamGate, StreamPlace
from loadgen_service.service.run.conductor import RunConductor
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import Sessions
from loadgen_service.service.storage.journal import Journal
from loadgen_service.service.storage.run_directory import STREAMS_FOLDER, RunDirectory, new_run_id

UNFINISHED = 3

_log = logging.getLogger(__name__)


class MixedRun:
    """Streams by their order. :meth:`conduct` always ends every one of them."""

    def __init__(self, run_id: str, directory: RunDirectory, streams: Sequence[Run]) -> None:
        self.run_id = run_id
        self.directory = directory
        self.streams = list(streams)
        self.is_over = False
        self.changed = asyncio.Event()
        self._error = ""
        self._error_exit_code = 0
        self._summary: MixedSummary | None = None
        self._gate = StreamGate([run.stream_name for run in streams], self._break_off)

    @property
    def state(self) -> RunState:
        """Of the stream that is furthest behind; a final state only once all files are there."""
        if self.is_over:
            return self._final_state()
        going = [run.state for run in self.streams if not run.is_over]
        return min(going, key=int) if going else RunState.WRITING

    def _final_state(self) -> RunState:
        if self._error:
            return RunState.FAILED
        return RunState[self._summary.state] if self._summary else RunState.INTERRUPTED

    def stop(self) -> None:
        """Ask every stream that still has load to drain; asked twice, to give up what is out."""
        for index, run in enumerate(self.streams):
            if not self._gate.has_left(index):
                run.stop()

    def _break_off(self, stream_index: int) -> None:
        """No common start without this stream."""
        name = self.streams[stream_index].stream_name
        for run in self.streams:
            if run.stream_name != name and not run.is_stopped():
                run.note(f"stream {name} did not come to the common start, so this one had none")
                run.stop_requests += 1

    async def conduct(self, sessions: Sessions) -> None:
        """Take all streams to their ends, then write what holds for all of them."""
        try:
            if any(not run.is_over for run in self.streams):
                self._write_down()
                conducting = (self._conduct_one(i, sessions) for i in range(len(self.streams)))
                await asyncio.gather(*conducting)
                await self._conclude()
        except (LoadgenError, OSError) as error:
            self._fail(" ".join(str(error).split()), UNFINISHED)
        finally:
            self.is_over = True
            self.changed.set()

    def _write_down(self) -> None:
        """So that a service after this one can join what the streams left behind."""
        streams = [
            {"name": run.stream_name, "run_id": run.run_id, "worker_count": run.settings.workers}
            for run in self.streams
        ]
        Journal(self.directory.path).write("mixed", run_id=self.run_id, streams=streams)

    async def _conduct_one(self, index: int, sessions: Sessions) -> None:
        run = self.streams[index]
        place = StreamPlace(self._gate, index)
        try:
            if not run.is_over:
                await RunConductor(run, sessions, place=place).conduct()
        except Exception:
            _log.exception("stream %s of run %s ended by a defect", run.stream_name, self.run_id)
        finally:
            self._gate.leave(index)
            sessions.changed.set()

    async def _conclude(self) -> None:
        failed = next((run for run in self.streams if run.error), None)
        if failed:
            self._fail(f"stream {failed.stream_name}: {failed.error}", failed.error_exit_code)
        if any(run.summary_json for run in self.streams):
            streams = [stream_summary(index, run) for index, run in enumerate(self.streams)]
            self._summary = await asyncio.to_thread(
                write_mixed, self.directory, self.run_id, streams
            )
        else:
            Journal(self.directory.path).write("given_up", reason=self._error or "no stream began")

    def _fail(self, error: str, exit_code: int) -> None:
        self._error, self._error_exit_code = error, exit_code or UNFINISHED

    def status(self) -> pb.RunStatus:
        """What a watcher gets; figures are the streams'."""
        status = pb.RunStatus(
            run_id=self.run_id,
            state=int(self.state),  # type: ignore[arg-type]  # the same numbers
            scenario="mixed",
            run_directory=str(self.directory.path.resolve()),
            error=self._error,
            error_exit_code=self._error_exit_code,
            summary_json=mixed_to_json(self._summary) if self._summary else "",
            notes=self._summary.notes if self._summary else (),
        )
        for run in self.streams:
            one = status.streams.add()
            one.CopyFrom(run.status())
            one.ClearField("summary_json")  # mixed.json holds it
        return status


def stream_summary(index: int, run: Run) -> StreamSummary:
    """How a stream that is over ended."""
    codes = {"valid": 0, "invalid": 1}
    return StreamSummary(
        stream_index=index,
        name=run.stream_name,
        run_id=run.run_id,
        directory=f"{STREAMS_FOLDER}/{run.stream_name}",
        state=run.state.name,
        worker_count=run.settings.workers,
        exit_code=codes.get(run.outcome, run.error_exit_code or UNFINISHED),
        error=run.error,
        summary=summary_from_json(run.summary_json) if run.summary_json else None,
    )


def make_mixed(
    run_id: str, streams: Sequence[StreamSettings], make_directory: Callable[[], RunDirectory]
) -> MixedRun:
    """A mixed run with a folder for each stream; its directory is made once all is in order.

    Raises SettingsError for what cannot be mixed.
    """
    require_names([one.name for one in streams])
    for one in streams:
        require_mixable(one)
    directory = make_directory()
    runs = []
    for index, one in enumerate(streams):
        place = RunDirectory(directory.path / STREAMS_FOLDER / one.name)
        place.path.mkdir(parents=True)
        run = Run(new_run_id(), one.settings, place)
        run.stream_index, run.stream_name = index, one.name
        runs.append(run)
    return MixedRun(run_id, directory, runs)
