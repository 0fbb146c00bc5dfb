"""The page's news: once a second the list of runs, the followed run, and its new points.

One beat serves every reader; a reader that came late gets all points first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from loadgen_service.service.coordinator import Coordinator
from loadgen_service.service.run.run import Run
from loadgen_service.web.run_json import run_detail, run_line
from loadgen_service.web.timeline import Timelines

BEAT_S: Final = 1.0

LISTED_RUNS_MAX: Final = 50


class Pulse:
    """Takes a point of the conducted runs each beat, and wakes the readers."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._beat = asyncio.Event()
        self.timelines = Timelines()
        self.watchers = 0
        self.closed = False

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            coordinator = self._coordinator
            self.timelines.look(coordinator.conducted, coordinator.sessions.clock())
            self._wake()

    def close(self) -> None:
        """Send every reader home."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        beat, self._beat = self._beat, asyncio.Event()
        beat.set()

    async def next(self) -> None:
        """Return at the next beat; beats come whatever happens to runs."""
        await self._beat.wait()


async def event_stream(
    coordinator: Coordinator, pulse: Pulse, wanted_run_id: str
) -> AsyncIterator[str]:
    """Server-sent events for one reader. Without a wanted run, the conducted one is followed."""
    pulse.watchers += 1
    reader = _Reader(wanted_run_id)
    try:
        while not pulse.closed:
            yield reader.event(coordinator, pulse.timelines)
            await pulse.next()
        yield reader.event(coordinator, pulse.timelines)
        yield "event: end\ndata: {}\n\n"
    finally:
        pulse.watchers -= 1


class _Reader:
    """What one reader was told already."""

    def __init__(self, wanted_run_id: str) -> None:
        self._wanted = wanted_run_id
        self._followed = ""
        self._thinned = 0
        self._told = 0

    def event(self, coordinator: Coordinator, timelines: Timelines) -> str:
        run = self._run(coordinator)
        newest = list(coordinator.runs.values())[-LISTED_RUNS_MAX:]
        news: dict[str, object] = {
            "runs": [run_line(one) for one in reversed(newest)],
            "run": run_detail(run) if run else None,
            "workers_idle": len(coordinator.sessions.idle()),
            **self._points(run, timelines),
        }
        return f"data: {json.dumps(news, separators=(',', ':'))}\n\n"

    def _run(self, coordinator: Coordinator) -> Run | None:
        if self._wanted in coordinator.runs:
            return coordinator.runs[self._wanted]
        return next(iter((*coordinator.conducted, *coordinator.runs.values())), None)

    def _points(self, run: Run | None, timelines: Timelines) -> dict[str, object]:
        """The points not told yet; all of them, under ``reset``, where the old ones changed."""
        if run is None:
            return {"reset": False, "points": []}
        timeline = timelines.of(run.run_id)
        reset = run.run_id != self._followed or timeline.thinned != self._thinned
        first = 0 if reset else self._told
        self._followed, self._thinned = run.run_id, timeline.thinned
        self._told = len(timeline.points)
        return {"reset": reset, "points": timeline.points[first:]}
