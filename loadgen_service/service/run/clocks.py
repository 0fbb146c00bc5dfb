"""The clocks of one series: the service's and the SUTs', measured by every worker that issues.

Before the load, now and then during it (the service's only: that costs no connection), and after
it. What the measurements are worth is computed in ``core.hops``; here they are only asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import ClockFacts
from loadgen_service.core.units import NS_PER_S
from loadgen_service.service.run.leased_workers import LeasedWorkers
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import Worker

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
