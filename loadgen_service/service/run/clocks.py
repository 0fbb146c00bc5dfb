"""The clocks of one series: the service's and the SUTs', measured by every worker that issues.

Before the load, now and then during it (the service's only: that costs no connection), and after
it. What the measurements are worth is computed in ``core.hops``; here they are only asked for.

Where the streams of a mixed run meet: at their common start, and before results are made.

Each stream's conductor waits here, with its own leased workers, a deadline and a named cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import ClockFacts
from loadgen_service.core.units import NS_PER_S
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import LeasedWorkers, Worker

CLOCK_PINGS = 15
CLOCK_TIMEOUT_NS = 10 * NS_PER_S
CLOCK_AGAIN_NS = 30 * NS_PER_S
"""During a run: two quartz clocks part by 3 ms at most meanwhile."""

LAST_CLOCK_TIMEOUT_NS = 3 * NS_PER_S
"""After the load nobody depends on it any more."""


class SeriesClocks:
    """Asks for the measurements of one series and keeps them. ``with_suts``: SUTs have clocks."""

    def __init__(self, run: Run, leased: LeasedWorkers, *, with_suts: bool) -> None:
        self._run = run
        self._leased = leased
        self._with_suts = with_suts
        self._suts: list[tuple[int, pb.ClockOffset]] = []
        self._starts: dict[int, int] = {}
        self._used: dict[int, pb.ClockOffset] = {}
        self._asked_ns = 0

    async def measure_first(self) -> None:
        """Every worker against the service, then every SUT. Raises like ``LeasedWorkers.wait``."""
        leased = self._leased
        for worker in leased.workers:
            worker.clock = None
            worker.clocks.clear()
        self._ask()
        await leased.wait(
            lambda: all(worker.clock is not None for worker in leased.workers),
            CLOCK_TIMEOUT_NS,
            "workers did not measure their clocks",
            self._run.is_stopped,
        )
        await self._measure_suts()

    def start_at(self, t0_ns: int) -> None:
        """Workers begin at ``t0_ns`` of the service, by the offsets that they know now."""
        for worker in self._leased.workers:
            if worker.clock is not None:
                self._used[worker.index] = worker.clock
                self._starts[worker.index] = t0_ns - worker.clock.offset_ns

    def look_again(self) -> None:
        """During the load: ask once more where the last time is long ago."""
        if self._leased.now_ns() - self._asked_ns > CLOCK_AGAIN_NS:
            self._ask()

    async def measure_last(self) -> None:
        """After the load, as far as it can still be had."""
        before = {worker.index: len(worker.clocks) for worker in self._leased.workers}
        self._ask()
        await self._measure_suts()
        deadline_ns = self._leased.now_ns() + LAST_CLOCK_TIMEOUT_NS
        while any(len(w.clocks) == before[w.index] for w in self._leased.alive()):
            if self._leased.now_ns() >= deadline_ns:
                return
            await self._leased.tick()

    def _ask(self) -> None:
        self._asked_ns = self._leased.now_ns()
        self._leased.tell(pb.ToWorker(measure_clock=pb.MeasureClock(count=CLOCK_PINGS)))

    async def _measure_suts(self) -> None:
        if not self._with_suts:
            return
        call = pb.Control(
            settings_json=self._run.settings.model_dump_json(),
            clocks=pb.MeasureSutClocks(count=CLOCK_PINGS),
        )
        replies, errors = await self._leased.control_each(call, CLOCK_TIMEOUT_NS)
        for error in errors:
            self._run.note(f"the SUTs' clocks were not measured: {error}")
        for worker_index, reply in replies.items():
            self._suts += [(worker_index, clock) for clock in reply.clocks]

    # ------------------------------------------------------------ what is known
    def used(self, worker: Worker) -> pb.ClockOffset:
        """The measurement by which a worker began."""
        return self._used.get(worker.index, pb.ClockOffset())

    def start_clock_ns(self, worker: Worker) -> int:
        """The series' start on a worker's own clock; 0 where it was never measured."""
        return self._starts.get(worker.index, 0)

    def worst_error_ns(self) -> int:
        """The widest error among the workers' newest offsets."""
        return max((w.clock.error_ns for w in self._leased.workers if w.clock), default=0)

    def facts(self) -> tuple[ClockFacts, ...]:
        """Every measurement of workers whose start is known, by worker."""
        return tuple(
            ClockFacts(
                worker_index=worker_index,
                sut_index=_sut_of(clock),
                at_ns=clock.measured_at_ns - self._starts[worker_index],
                offset_ns=clock.offset_ns,
                error_ns=clock.error_ns,
            )
            for worker_index, clock in sorted(self._all(), key=lambda pair: pair[0])
            if worker_index in self._starts
        )

    def _all(self) -> Iterable[tuple[int, pb.ClockOffset]]:
        for worker in self._leased.workers:
            yield from ((worker.index, clock) for clock in worker.clocks)
        yield from self._suts

    # ------------------------------------------------------------ over a restart of the service
    def journalled(self) -> dict[str, list[list[int]]]:
        """What a service that is started again needs: ``resume`` takes it."""
        return {
            "starts": [[index, start] for index, start in self._starts.items()],
            "service": [
                [i, c.offset_ns, c.error_ns, c.measured_at_ns] for i, c in self._used.items()
            ],
            "suts": [
                [index, _sut_of(c) or 0, c.offset_ns, c.error_ns, c.measured_at_ns]
                for index, c in self._suts
            ],
        }

    def resume(self, journalled: dict[str, list[list[int]]]) -> None:
        """Go on with what an earlier service measured before the start."""
        for index, start_ns in journalled["starts"]:
            self._starts[index] = start_ns
        for index, offset_ns, error_ns, at_ns in journalled["service"]:
            clock = _clock("coordinator", offset_ns, error_ns, at_ns)
            self._used[index] = clock
            for worker in self._leased.workers:
                if worker.index == index and clock not in worker.clocks:
                    worker.clocks.append(clock)
        self._suts = [
            (index, _clock(f"sut {sut}", offset_ns, error_ns, at_ns))
            for index, sut, offset_ns, error_ns, at_ns in journalled["suts"]
        ]


def _sut_of(clock: pb.ClockOffset) -> int | None:
    """The SUT whose clock it is; None for the service's."""
    return int(clock.peer.removeprefix("sut ")) if clock.peer.startswith("sut ") else None


def _clock(peer: str, offset_ns: int, error_ns: int, at_ns: int) -> pb.ClockOffset:
    return pb.ClockOffset(peer=peer, offset_ns=offset_ns, error_ns=error_ns, measured_at_ns=at_ns)


MEET_TIMEOUT_NS: Final = 3600 * NS_PER_S
"""Longest wait for the other streams: their own waits end far sooner, warm-ups apart."""

MORE_STREAMS: Final = 2
"""The last stream's margin times this: every stream's conductor must hear of the start first."""


class StreamGate:
    """The meetings of the streams ``names``, told apart by their index.

    ``broken`` is called once, with the index of the stream that left before it came to the start:
    the others will not meet it, so they must be stopped.
    """

    def __init__(self, names: Sequence[str], broken: Callable[[int], None]) -> None:
        self._names = names
        self._margins: dict[int, int] = {}
        self._left: set[int] = set()
        self._broken = broken
        self._all_left = asyncio.Event()
        self.t0_ns: int | None = None
        # One at a time: each may take the memory of its records.
        self.writing = asyncio.Lock()

    def awaited(self) -> list[str]:
        """Names of the streams that have not come to the start."""
        return [name for index, name in enumerate(self._names) if index not in self._margins]

    def has_come(self, stream_index: int) -> bool:
        """Whether this stream came to the start; its later series begin by themselves."""
        return stream_index in self._margins

    def has_left(self, stream_index: int) -> bool:
        """Whether this stream has no load any more."""
        return stream_index in self._left

    def come(self, stream_index: int, now_ns: int, margin_ns: int) -> None:
        """A stream is armed and needs ``margin_ns`` to begin; the last to come sets ``t0_ns``."""
        self._margins[stream_index] = margin_ns
        if not self.awaited() and not self._left:
            self.t0_ns = now_ns + MORE_STREAMS * max(self._margins.values())

    def leave(self, stream_index: int) -> None:
        """A stream has no load any more, however it ended; twice is once."""
        if stream_index in self._left:
            return
        is_first = not self._left
        self._left.add(stream_index)
        if len(self._left) == len(self._names):
            self._all_left.set()
        if is_first and self.t0_ns is None:
            self._broken(stream_index)

    async def all_left(self) -> None:
        """Until no stream has load any more: each stream's own waits have deadlines, so it ends."""
        await self._all_left.wait()


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """One stream's place at the gate."""

    gate: StreamGate
    index: int

    def meets_before(self, series_kind: str) -> bool:
        """Whether a series of this kind has to wait for the other streams: the first measured one.

        Each stream warms its SUT up by itself.
        """
        return series_kind != "warmup" and not self.gate.has_come(self.index)

    async def meet(
        self,
        leased: LeasedWorkers,
        margin_ns: int,
        look_at_clocks: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> int:
        """The common start, by the service's clock. Raises as ``LeasedWorkers.wait`` does."""
        gate = self.gate
        gate.come(self.index, leased.now_ns(), margin_ns)
        leased.sessions.changed.set()

        def is_met() -> bool:
            look_at_clocks()
            return gate.t0_ns is not None

        cause = f"streams {', '.join(gate.awaited())} were not ready for the common start"
        await leased.wait(is_met, MEET_TIMEOUT_NS, cause, stopped)
        assert gate.t0_ns is not None
        return gate.t0_ns
