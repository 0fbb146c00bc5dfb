"""Reads the SUTs' Prometheus metrics through a run, a JSON line a reading into its directory.

The service does it, never a worker: nothing is added to what is timed. No failure ends a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen_service.core.settings.authority import MetricsPlace, metrics_place
from loadgen_service.core.units import NS_PER_MS, NS_PER_S
from loadgen_service.service.results.scraped_files import Reading, append_reading, readings_file
from loadgen_service.service.run.run import Run
from loadgen_service.service.scrape.fetch import ScrapeFailure, TextReader, fetch

DEADLINE_MAX_NS: Final = 5 * NS_PER_S
"""However rarely it is asked, a server that needs longer than this for its metrics is not well."""


def deadline_ns(interval_ns: int) -> int:
    """Of one reading: it must not outlast the interval."""
    return min(interval_ns, DEADLINE_MAX_NS)


@asynccontextmanager
async def metrics_scraped(run: Run, clock_ns: Callable[[], int]) -> AsyncIterator[None]:
    """Read what ``sut_metrics`` of the run names until the block ends; without any, do nothing.

    The first reading is awaited, within its deadline: an address that gives none is noted, and
    asked on. ``clock_ns``: the clock that the series' starts are told by.
    """
    if not run.settings.sut_metrics:
        yield
        return
    scraper = _Scraper(run, clock_ns)
    await scraper.look_first()
    going = asyncio.create_task(scraper.go_on())
    try:
        yield
    finally:
        going.cancel()
        (ended,) = await asyncio.gather(going, return_exceptions=True)
        await scraper.settle()
        if isinstance(ended, Exception):  # a defect here must not cost the run its results
            run.note(f"sut_metrics: reading ended by {type(ended).__name__}: {ended}")


@dataclass(slots=True)
class _Target:
    url: str
    place: MetricsPlace
    file: Path
    reader: TextReader = field(default_factory=TextReader)
    is_refused: bool = False


class _Scraper:
    def __init__(self, run: Run, clock_ns: Callable[[], int]) -> None:
        self._run = run
        self._clock_ns = clock_ns
        self._interval_ns = run.settings.sut_metrics_interval_ms * NS_PER_MS
        self._deadline_s = deadline_ns(self._interval_ns) / NS_PER_S
        self._due_ns = clock_ns()
        self._keeping: set[asyncio.Future[str]] = set()
        self._targets = [
            _Target(url, metrics_place(url), readings_file(run.directory, index))
            for index, url in enumerate(run.settings.sut_metrics)
        ]

    async def look_first(self) -> None:
        """The first reading of all; what gives none is told now, before the load."""
        failures = await asyncio.gather(*(self._scrape(target) for target in self._targets))
        for target, failure in zip(self._targets, failures, strict=True):
            if failure:
                self._run.note(
                    f"sut_metrics {target.url}: {failure}; the run goes on without its metrics, "
                    f"asking again every {self._interval_ns / NS_PER_S:g} s"
                )

    async def go_on(self) -> None:
        """A reading at each tick of the interval; ticks that a reading took up are left out."""
        while True:
            missed = (self._clock_ns() - self._due_ns) // self._interval_ns
            self._due_ns += (missed + 1) * self._interval_ns
            await asyncio.sleep((self._due_ns - self._clock_ns()) / NS_PER_S)
            await asyncio.gather(*(self._scrape(target) for target in self._targets))

    async def settle(self) -> None:
        """Wait for the lines that are being written: the results are made from whole files."""
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _scrape(self, target: _Target) -> str:
        """One reading and its line; the cause of a failure, or nothing."""
        if target.is_refused:
            return ""
        at_ns = self._clock_ns()
        try:
            body = await fetch(target.place, self._deadline_s)
        except ScrapeFailure as failure:
            return await self._keep(target, Reading(at_ns, self._took_ns(at_ns), str(failure)))
        return await self._keep(target, Reading(at_ns, self._took_ns(at_ns)), body)

    def _took_ns(self, at_ns: int) -> int:
        return self._clock_ns() - at_ns

    async def _keep(self, target: _Target, reading: Reading, body: bytes | None = None) -> str:
        """Parse and append in a thread; a cancelled tick's line is still finished."""
        kept = asyncio.ensure_future(asyncio.to_thread(_parse_and_append, target, reading, body))
        self._keeping.add(kept)
        kept.add_done_callback(self._keeping.discard)
        try:
            return await asyncio.shield(kept)
        except OSError as error:
            target.is_refused = True
            self._run.note(
                f"sut_metrics {target.url}: {target.file}: {error.strerror or error}; "
                "its metrics end there"
            )
            return ""


def _parse_and_append(target: _Target, reading: Reading, body: bytes | None) -> str:
    """Blocking. Returns the cause of a failure; raises OSError where the disk refuses."""
    if body is not None:
        try:
            reading = Reading(reading.at_ns, reading.took_ns, samples=target.reader.samples(body))
        except ScrapeFailure as failure:
            reading = Reading(reading.at_ns, reading.took_ns, str(failure))
    append_reading(target.file, reading)
    return reading.failure
