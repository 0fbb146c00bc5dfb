"""Hand-written fakes: a clock that is set, a SUT that answers when told, a patient waiter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from loadgen_service.core.pacing.pacer import Pacer
from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs, shard_rows
from loadgen_service.core.settings import Settings
from loadgen_service.sut.interface import DONE, Cell, Event, Parts
from loadgen_service.worker.issue.loop import SeriesLoop
from loadgen_service.worker.issue.shard import Shard
from loadgen_service.worker.records.record_log import RecordLog, SealedRows

T0_NS = 1_000_000_000_000


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = T0_NS

    def __call__(self) -> int:
        return self.now_ns


class FakeWaiter:
    def __init__(self) -> None:
        self.at_ns: int | None = None
        self.is_soon = False

    def arm(self, at_ns: int | None) -> None:
        self.at_ns = at_ns

    def soon(self) -> None:
        self.is_soon = True

    def close(self) -> None:
        self.at_ns = None


class FakeSut:
    """Hands over at flush while there is ``room``; answers only when a test says so."""

    def __init__(self, clock: FakeClock, room: int = 1 << 60) -> None:
        self.address = "fake"
        self.blocked_count = 0
        self.room = room
        self.open: dict[int, tuple[Parts, Cell]] = {}
        self.waiting: dict[int, tuple[Parts, Cell]] = {}
        self.cancelled: list[int] = []
        self.flush_count = 0
        self._clock = clock
        self._fresh: list[Cell] = []

    @property
    def waiting_count(self) -> int:
        return len(self.waiting)

    async def open_(self) -> None: ...

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        cell = [released_ns, -1]
        if len(self.open) < self.room:
            self.open[key] = (parts, cell)
            self._fresh.append(cell)
        else:
            self.blocked_count += 1
            self.waiting[key] = (parts, cell)
        return cell

    def flush(self) -> None:
        self.flush_count += 1
        for cell in self._fresh:
            cell[1] = self._clock()
        self._fresh.clear()

    def make_room(self, count: int) -> None:
        for key in list(self.waiting)[:count]:
            _, cell = self.open[key] = self.waiting.pop(key)
            cell[1] = self._clock()

    def cancel(self, key: int) -> None:
        self.cancelled.append(key)
        self.open.pop(key, None)
        self.waiting.pop(key, None)

    def sweep(self, now_ns: int) -> None: ...

    async def close(self) -> None: ...

    def answers(self, keys: Sequence[int], code: int = 0, text: str = "") -> list[Event]:
        for key in keys:
            del self.open[key]
        return [(DONE, key, code, b"answer" if code == 0 else None, text) for key in keys]


class Rig:
    """A loop with everything around it faked but plan, pacer, shard and record log."""

    def __init__(
        self,
        tmp_path: Path,
        settings: Settings,
        *,
        sut_count: int = 1,
        samples: SampleCounts | None = None,
        worker: tuple[int, int] = (0, 1),
        kind: str = "",
        keep_responses: bool = False,
        build: Callable[[Sequence[int]], Parts] | None = None,
    ) -> None:
        counts = samples or SampleCounts(16, 16)
        spec = next(s for s in series_specs(settings, counts) if not kind or s.kind == kind)
        self.plan = plan_series(settings, counts, spec)
        self.clock = FakeClock()
        self.waiter = FakeWaiter()
        self.suts = [FakeSut(self.clock) for _ in range(sut_count)]
        self.sealed: list[dict[str, np.ndarray]] = []
        self.log = RecordLog(tmp_path, self._keep, row_count=64)
        self.said: list[str] = []
        rows = shard_rows(self.plan, *worker, settings)
        self.loop = SeriesLoop(
            pacer=Pacer(settings, self.plan, *worker),
            shard=Shard(self.plan, rows, build or (lambda samples: bytes(samples))),
            suts=self.suts,  # type: ignore[arg-type]  # never opened here
            log=self.log,
            clock=self.clock,
            deadline_ns=settings.deadline_ns,
            on_all_issued=lambda: self.said.append("all issued"),
            on_finished=lambda: self.said.append("finished"),
            keep_responses=keep_responses,
        )
        self.loop.start(T0_NS, self.waiter)

    def _keep(self, rows: SealedRows) -> None:
        self.sealed.append({name: column.copy() for name, column in rows.columns().items()})
        rows.release()

    def at(self, since_t0_ns: int) -> None:
        self.clock.now_ns = T0_NS + since_t0_ns

    def wake(self) -> None:
        """Let the waiter's instant come, and every turn that follows at once."""
        assert self.waiter.at_ns is not None
        self.clock.now_ns = max(self.clock.now_ns, self.waiter.at_ns)
        self.loop.on_wake()
        self.run_soon()

    def run_soon(self) -> None:
        while self.waiter.is_soon:
            self.waiter.is_soon = False
            self.loop.on_wake()

    def answer(self, keys: Sequence[int], sut: int = 0, code: int = 0, text: str = "") -> None:
        self.loop.on_events(self.clock.now_ns, self.suts[sut].answers(keys, code, text))
        self.run_soon()

    def columns(self) -> dict[str, np.ndarray]:
        self.log.seal()
        names = set.union(*(set(piece) for piece in self.sealed)) if self.sealed else set()
        return {
            name: np.concatenate([piece[name] for piece in self.sealed if name in piece])
            for name in names
        }
