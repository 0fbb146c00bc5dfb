"""The leased workers of one run: talk to all or to the elected one, and wait with a named cause.

Every wait ends: with its condition, with a worker's failure, with a stop, or at its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError, RunError, UserError
from loadgen_service.service.run.worker_sessions import Sessions, Worker

TICK_S = 0.1
"""Longest sleep of a wait: silence makes no noise, so someone must look."""


class Interrupted(Exception):
    """A person stopped the run before any load."""


def error_from(text: str, exit_code: int) -> LoadgenError:
    """A worker's error as ours: 2 is the user's mistake, anything else a run that cannot finish."""
    return UserError(text) if exit_code == 2 else RunError(text)


class LeasedWorkers:
    """The workers of a run. ``lost_ns``: silence after which one is lost."""

    def __init__(self, sessions: Sessions, workers: Sequence[Worker], lost_ns: int) -> None:
        self.sessions = sessions
        self.workers = list(workers)
        self.lost_ns = lost_ns

    def now_ns(self) -> int:
        """The coordinator's monotonic clock."""
        return self.sessions.clock()

    def lost_reason(self, worker: Worker) -> str:
        """Why a worker counts as lost now, or ``""``."""
        return worker.lost_reason(self.now_ns(), self.lost_ns)

    def alive(self) -> list[Worker]:
        """Workers that are not lost now."""
        return [worker for worker in self.workers if not self.lost_reason(worker)]

    def tell(self, message: pb.ToWorker) -> None:
        """Send to all workers, lost ones included: they may come back."""
        for worker in self.workers:
            worker.send(message)

    async def tick(self) -> None:
        """Return when something was heard, or after TICK_S."""
        changed = self.sessions.changed
        changed.clear()
        try:
            await asyncio.wait_for(changed.wait(), TICK_S)
        except TimeoutError:
            return

    async def wait(
        self,
        is_met: Callable[[], bool],
        timeout_ns: int,
        cause: str,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait for ``is_met`` before a run's load: a lost worker or a failure ends the run.

        Raises RunError with ``cause`` at the deadline, Interrupted when ``stopped``.
        """
        deadline_ns = self.now_ns() + timeout_ns
        while not is_met():
            if stopped():
                raise Interrupted
            self.require_all()
            if self.now_ns() >= deadline_ns:
                raise RunError(f"{cause} within {timeout_ns / NS_PER_S:g} s")
            await self.tick()

    def require_all(self) -> None:
        """Raise what a worker failed with, or RunError naming a lost one."""
        for worker in self.workers:
            if worker.failure is not None:
                raise error_from(worker.failure.error, worker.failure.exit_code)
            reason = self.lost_reason(worker)
            if reason:
                raise RunError(
                    f"worker {worker.index} on {worker.host} (process {worker.pid}) was lost: "
                    f"{reason}"
                )

    async def control(
        self,
        call: pb.Control,
        timeout_ns: int,
        stopped: Callable[[], bool] = lambda: False,
    ) -> pb.ControlReply:
        """Let the first living worker make a control call at the SUTs.

        Raises the reply's error, or RunError when no reply comes in time.
        """
        alive = self.alive()
        if not alive:
            raise RunError("no worker is left to speak to the SUTs")
        return await self._control(alive[0], call, timeout_ns, stopped)

    async def control_each(
        self, call: pb.Control, timeout_ns: int
    ) -> tuple[dict[int, pb.ControlReply], list[str]]:
        """Let every living worker make the call: replies by worker index, and what went wrong."""
        replies: dict[int, pb.ControlReply] = {}
        errors: list[str] = []

        async def ask(worker: Worker) -> None:
            try:
                replies[worker.index] = await self._control(worker, _copy(call), timeout_ns)
            except LoadgenError as error:
                errors.append(f"worker {worker.index}: {error}")

        await asyncio.gather(*(ask(worker) for worker in self.alive()))
        return replies, errors

    async def _control(
        self,
        worker: Worker,
        call: pb.Control,
        timeout_ns: int,
        stopped: Callable[[], bool] = lambda: False,
    ) -> pb.ControlReply:
        number = next(self.sessions.control_ids)
        call.id, call.timeout_ns = number, timeout_ns
        worker.send(pb.ToWorker(control=call))
        name = call.WhichOneof("call")
        deadline_ns = self.now_ns() + timeout_ns + 2 * NS_PER_S
        while number not in worker.replies:
            if stopped():
                raise Interrupted
            reason = self.lost_reason(worker)
            if reason or self.now_ns() >= deadline_ns:
                raise RunError(f"no answer to the control call {name}: {reason or 'time ran out'}")
            await self.tick()
        reply = worker.replies.pop(number)
        if reply.error:
            raise error_from(reply.error, reply.error_exit_code)
        return reply


def _copy(call: pb.Control) -> pb.Control:
    copied = pb.Control()
    copied.CopyFrom(call)
    return copied
