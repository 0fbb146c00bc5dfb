"""The workers that speak to this service: who they are, when they last spoke, what they said.

Knows conversations, not runs: the coordinator reads the facts kept here and sends messages. Pure
of transport: the servicer feeds messages in and drains each worker's outgoing queue.

The leased workers of one run: talk to all or to the elected one, and wait with a named cause.

Every wait ends: with its condition, with a worker's failure, with a stop, or at its deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError, RunError, UserError

SUSPECT_NS = 2_000_000_000
"""Silence after which a worker is reported as suspect; it is lost only much later."""

NEVER_BACK = "it did not come back after the service died"
GIVEN_UP = "it had given the run up when the service was started again"

HEARTBEAT_INTERVAL_NS = 1_000_000_000

OUTGOING_LIMIT = 4096
"""Messages waiting for one worker's stream; more means that nobody reads them."""

Clock = Callable[[], int]


@dataclass(slots=True)
class SeriesWords:
    """What a worker said about one series."""

    armed: bool = False
    issued: int = 0
    completed: int = 0
    all_issued: bool = False
    done: pb.SeriesDone | None = None


@dataclass(slots=True)
class Worker:
    """One worker process, over all its connections. ``index`` is its place in the leased run.

    ``doubt``: what a cluster says against it, which is told when its silence has lost it.
    """

    worker_id: str
    host: str
    pid: int
    version: str
    cpu_count: int
    epoch: int
    heard_ns: int
    arrival: int
    run_id: str = ""
    index: int = -1
    left: str = ""
    doubt: str = ""
    ready: pb.Ready | None = None
    failure: pb.Failure | None = None
    heartbeat: pb.Heartbeat = field(default_factory=pb.Heartbeat)
    clock: pb.ClockOffset | None = None
    clocks: list[pb.ClockOffset] = field(default_factory=list)
    series: dict[int, SeriesWords] = field(default_factory=dict)
    replies: dict[int, pb.ControlReply] = field(default_factory=dict)
    outgoing: asyncio.Queue[pb.ToWorker] | None = None
    awaited_until_ns: int = 0
    """Of a run that is gone on with: it has so long to come back; 0: it has, or never was away."""
    unanswered: pb.ToWorker | None = None

    def words(self, series_index: int) -> SeriesWords:
        """What it said about a series so far."""
        return self.series.setdefault(series_index, SeriesWords())

    def silence_ns(self, now_ns: int) -> int:
        """How long it has been silent."""
        return now_ns - self.heard_ns

    def lost_reason(self, now_ns: int, lost_ns: int) -> str:
        """Why it counts as lost now, or ``""``. A worker that speaks again is back."""
        if self.left:
            return self.left
        if self.awaited_until_ns:
            return NEVER_BACK if now_ns > self.awaited_until_ns else ""
        silent = self.silence_ns(now_ns)
        if silent <= lost_ns:
            return ""
        return f"silent for {silent / NS_PER_S:.1f} s" + (f"; {self.doubt}" if self.doubt else "")

    def send(self, message: pb.ToWorker) -> None:
        """Queue a message. One that begins a phase is kept and sent again after a reconnection.

        Raises RunError when thousands are waiting: the stream is stuck.
        """
        if message.WhichOneof("message") in _BEGIN_A_PHASE:
            self.unanswered = message
        if self.outgoing is None:
            return
        if self.outgoing.qsize() >= OUTGOING_LIMIT:
            raise RunError(f"worker {self.index} on {self.host} does not read its messages")
        self.outgoing.put_nowait(message)


_BEGIN_A_PHASE = frozenset({"prepare", "arm", "start", "stop", "finish"})


class Sessions:
    """All workers of the service. ``changed`` is set whenever anything was heard."""

    def __init__(self, clock: Clock = time.monotonic_ns) -> None:
        self.clock = clock
        self.changed = asyncio.Event()
        self.workers: dict[str, Worker] = {}
        self._arrivals = itertools.count()
        # Never used twice: a late reply to another run's call must find nobody waiting.
        self.control_ids = itertools.count(1)

    def admit(self, hello: pb.Hello) -> Worker:
        """A worker says hello for the first time, or again after its connection broke."""
        worker = self.workers.get(hello.worker_id)
        if worker is not None and worker.awaited_until_ns and hello.run_id != worker.run_id:
            worker.left, worker = GIVEN_UP, None
        if worker is None:
            worker = Worker(
                worker_id=hello.worker_id,
                host=hello.host,
                pid=hello.pid,
                version=hello.version,
                cpu_count=hello.cpu_count,
                epoch=hello.epoch,
                heard_ns=self.clock(),
                arrival=next(self._arrivals),
            )
            self.workers[hello.worker_id] = worker
        worker.epoch, worker.left, worker.heard_ns = hello.epoch, "", self.clock()
        worker.version, worker.cpu_count, worker.awaited_until_ns = (
            hello.version,
            hello.cpu_count,
            0,
        )
        worker.outgoing = asyncio.Queue()
        worker.outgoing.put_nowait(_welcome(worker))
        if worker.run_id and worker.unanswered is not None:
            worker.outgoing.put_nowait(worker.unanswered)
        if hello.run_id and hello.run_id != worker.run_id:
            # A run that ended without it, or with the service that began it: nobody collects it.
            worker.outgoing.put_nowait(pb.ToWorker(finish=pb.Finish(run_id=hello.run_id)))
        self.changed.set()
        return worker

    def expect(self, worker_id: str, host: str, pid: int, until_ns: int) -> Worker:
        """A worker that an earlier service knew, and that is about to say hello again."""
        worker = Worker(
            worker_id=worker_id,
            host=host,
            pid=pid,
            version="",
            cpu_count=0,
            epoch=0,
            heard_ns=self.clock(),
            arrival=next(self._arrivals),
            awaited_until_ns=until_ns,
        )
        self.workers[worker_id] = worker
        return worker

    def detach(self, worker: Worker, queue: asyncio.Queue[pb.ToWorker] | None) -> None:
        """The connection with this outgoing queue ended; a worker in a run may still come back."""
        if worker.outgoing is not queue:
            return
        worker.outgoing = None
        if not worker.run_id:
            self.workers.pop(worker.worker_id, None)
        self.changed.set()

    def hear(self, worker: Worker, message: pb.FromWorker) -> None:
        """Take in one message."""
        now_ns = self.clock()
        worker.heard_ns = now_ns
        kind = message.WhichOneof("message")
        if kind is None:
            return
        if kind == "ping":
            _answer_ping(worker, message.ping, now_ns, self.clock)
            return
        _TAKE_IN[kind](worker, message)
        self.changed.set()

    def forget_process(self, pid: int, host: str, reason: str) -> None:
        """A local worker process ended: lost at once, without waiting for its silence."""
        for worker in list(self.workers.values()):
            if worker.pid == pid and worker.host == host:
                worker.left = reason
                if not worker.run_id:
                    self.workers.pop(worker.worker_id)
        self.changed.set()

    def doubt_process(self, pid: int, host: str, doubt: str) -> None:
        """Somebody else cannot reach a worker: it is no loss, and its reason if it becomes one."""
        for worker in self.workers.values():
            if worker.pid == pid and worker.host == host:
                worker.doubt = doubt

    def idle(self) -> list[Worker]:
        """Connected workers without a run, first come first."""
        free = (w for w in self.workers.values() if not w.run_id and w.outgoing and not w.left)
        return sorted(free, key=lambda worker: worker.arrival)

    def lease(self, run_id: str, count: int) -> list[Worker] | None:
        """Exactly ``count`` idle workers for a run, numbered; None while there are fewer."""
        free = [w for w in self.idle() if w.silence_ns(self.clock()) < SUSPECT_NS]
        if len(free) < count:
            return None
        for index, worker in enumerate(free[:count]):
            _begin_run(worker, run_id, index)
        return free[:count]

    def release(self, workers: Iterable[Worker]) -> None:
        """Give workers back; those that left are forgotten."""
        for worker in workers:
            _begin_run(worker, "", -1)
            is_gone = worker.left or worker.outgoing is None
            if is_gone and self.workers.get(worker.worker_id) is worker:
                del self.workers[worker.worker_id]
        self.changed.set()


def _begin_run(worker: Worker, run_id: str, index: int) -> None:
    worker.run_id, worker.index = run_id, index
    worker.ready = worker.failure = worker.unanswered = worker.clock = None
    worker.series, worker.replies, worker.clocks = {}, {}, []


def _welcome(worker: Worker) -> pb.ToWorker:
    return pb.ToWorker(
        welcome=pb.Welcome(
            session_id=f"{worker.worker_id}/{worker.epoch}",
            heartbeat_interval_ns=HEARTBEAT_INTERVAL_NS,
        )
    )


def _answer_ping(worker: Worker, ping: pb.Ping, received_ns: int, clock: Clock) -> None:
    worker.send(
        pb.ToWorker(
            pong=pb.Pong(
                index=ping.index,
                sent_ns=ping.sent_ns,
                received_ns=received_ns,
                replied_ns=clock(),
            )
        )
    )


def _take_progress(worker: Worker, message: pb.FromWorker) -> None:
    words = worker.words(message.progress.series_index)
    words.issued = max(words.issued, message.progress.issued)
    words.completed = max(words.completed, message.progress.completed)


def _take_done(worker: Worker, message: pb.FromWorker) -> None:
    done = message.done
    words = worker.words(done.series_index)
    words.issued, words.completed = done.issued, done.completed
    words.all_issued = True
    # Said twice: without a batch number when the last request was issued, then with it.
    if done.last_batch_sequence > 0:
        words.done = done


def _take_armed(worker: Worker, message: pb.FromWorker) -> None:
    worker.words(message.armed.series_index).armed = True


def _take_clock(worker: Worker, message: pb.FromWorker) -> None:
    worker.clock = message.clock
    if message.clock not in worker.clocks:  # said again after a reconnection
        worker.clocks.append(message.clock)


def _take_heartbeat(worker: Worker, message: pb.FromWorker) -> None:
    worker.heartbeat = message.heartbeat


def _take_reply(worker: Worker, message: pb.FromWorker) -> None:
    worker.replies[message.control.id] = message.control


def _take_ready(worker: Worker, message: pb.FromWorker) -> None:
    worker.ready = message.ready


def _take_failure(worker: Worker, message: pb.FromWorker) -> None:
    worker.failure = message.failure


def _take_goodbye(worker: Worker, message: pb.FromWorker) -> None:
    worker.left = message.goodbye.reason or "it said goodbye"


def _take_hello(worker: Worker, message: pb.FromWorker) -> None:
    """A second hello on one connection says nothing new."""


_TAKE_IN: dict[str, Callable[[Worker, pb.FromWorker], None]] = {
    "hello": _take_hello,
    "heartbeat": _take_heartbeat,
    "clock": _take_clock,
    "control": _take_reply,
    "ready": _take_ready,
    "armed": _take_armed,
    "progress": _take_progress,
    "done": _take_done,
    "failure": _take_failure,
    "goodbye": _take_goodbye,
}


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
