"""The worker's conversation with its coordinator: hello, heartbeats, clock, and the steps of a run.

It connects again after a break and says again what may have been lost. Steps happen in the order
in which they came, beside heartbeats, pings and control calls, which never wait for them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any, Final

import grpc
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError
from loadgen_service.version import __version__
from loadgen_service.worker.host.process_stats import ProcessStats, rss_bytes
from loadgen_service.worker.official.loadgen_thread import is_left_behind
from loadgen_service.worker.session.controls import (
    ClockSample,
    OffsetEstimate,
    answer_control,
    estimate_offset,
)
from loadgen_service.worker.session.options import WorkerOptions, tls_trouble
from loadgen_service.worker.session.run import WorkerRun

HEARTBEAT_S: Final = 1.0
RECONNECT_S: Final = 0.3
ALONE_NS: Final = 30_000_000_000
"""A worker without a coordinator goes on for so long, then drains and keeps what is left over."""

SILENCE_NS: Final = 5_000_000_000
"""A coordinator that answers no ping for so long is asked over a new connection."""

PONG_TIMEOUT_S: Final = 1.0
CLOCK_COUNT_MAX: Final = 1000

_LASTING: Final = frozenset({"ready", "armed", "done", "failure", "control", "clock"})
"""Words that the coordinator waits for: said again after a reconnection."""

_REFUSALS: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
"""A token that is wrong, or that gives no right to work: trying again would not help."""

_STEPS: Final = frozenset({"prepare", "arm", "start", "stop", "finish"})


class Session:
    """One worker's life. ``run`` returns its exit code."""

    def __init__(self, options: WorkerOptions, channel: grpc.aio.Channel) -> None:
        self.worker_id = str(uuid.uuid4())
        self._options = options
        self._channel = channel
        self._stub = pb_grpc.FleetStub(channel)  # type: ignore[no-untyped-call]
        self._call: grpc.aio.StreamStreamCall[pb.FromWorker, pb.ToWorker] | None = None
        self._outgoing: asyncio.Queue[pb.FromWorker] | None = None
        self._lasting: list[pb.FromWorker] = []
        self._steps: asyncio.Queue[pb.ToWorker] = asyncio.Queue()
        self._pongs: dict[int, asyncio.Future[ClockSample]] = {}
        self._ping_number = 0
        self._offset: OffsetEstimate | None = None
        self._run: WorkerRun | None = None
        self._is_silent = False
        self._parent_pid = os.getppid()
        self._epoch = 0
        self._heard_ns = time.monotonic_ns()
        self._heartbeat_s = HEARTBEAT_S
        self._process_stats = ProcessStats()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()
        self._exit_code = 0
        self._signal = ""
        self._told = ""
        self._was_reached = False

    # ------------------------------------------------------------ life
    async def run(self) -> int:
        """Converse until told to leave; the exit code."""
        for work in (self._beat(), self._step_forever(), self._process_stats.watch()):
            self._spawn(work)
        conversation = self._spawn(self._converse_forever())
        leaving = asyncio.create_task(self._leaving.wait())
        await asyncio.wait({conversation, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        await self._say_goodbye()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close_run()
        return self._exit_code

    def leave(self, exit_code: int = 0) -> None:
        """End the conversation."""
        self._exit_code = exit_code
        self._leaving.set()

    def leave_on(self, signal_name: str) -> None:
        """Drain the series that goes on, then leave; a second signal leaves at once."""
        if self._signal:
            self.leave()
            return
        self._signal = signal_name
        self._spawn(self._wind_up())

    async def _wind_up(self) -> None:
        if self._run is not None:
            await self._run.wind_up()
        self.leave()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            _tell(f"worker: {type(error).__name__}: {error}")
            self._say_failure(f"worker failed: {type(error).__name__}: {error}", 3)

    async def _say_goodbye(self) -> None:
        reason = f"it was stopped by {self._signal}" if self._signal else ""
        self.say(pb.FromWorker(goodbye=pb.Goodbye(reason=reason)))
        for _ in range(20):
            if self._outgoing is None or self._outgoing.empty():
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)

    # ------------------------------------------------------------ the stream
    async def _converse_forever(self) -> None:
        while not self._leaving.is_set():
            try:
                await self._converse()
            except grpc.aio.AioRpcError as error:
                if error.code() in _REFUSALS:
                    _tell(f"worker: the coordinator refuses us: {error.details()}")
                    self.leave(2)
                    return
                self._tell_trouble(error.details() or "")
            except asyncio.CancelledError:
                if not self._is_silent:
                    raise
                self._is_silent = False  # we ended the call, nobody ended us
            self._outgoing = None
            self._epoch += 1
            if time.monotonic_ns() - self._heard_ns >= ALONE_NS and await self._go_alone():
                return
            await asyncio.sleep(RECONNECT_S)

    def _tell_trouble(self, details: str) -> None:
        """Say once what is wrong with a certificate, and go on trying."""
        trouble = ""
        if self._options.has_tls:
            trouble = tls_trouble(details, was_reached=self._was_reached)
        if trouble and trouble != self._told:
            _tell(f"worker: coordinator {self._options.coordinator}: {trouble}")
        self._told = trouble or self._told

    async def _converse(self) -> None:
        outgoing: asyncio.Queue[pb.FromWorker] = asyncio.Queue()
        outgoing.put_nowait(pb.FromWorker(hello=self._hello()))
        for message in self._lasting:
            outgoing.put_nowait(message)
        call = self._stub.Session(_drain(outgoing), metadata=self._options.metadata)
        self._call = call
        self._outgoing = outgoing
        try:
            async for message in call:
                self._heard_ns = time.monotonic_ns()
                self._was_reached = True
                self._hear(message)
        finally:
            self._call = None
            call.cancel()

    def _hello(self) -> pb.Hello:
        return pb.Hello(
            worker_id=self.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            cpu_count=os.cpu_count() or 1,
            version=__version__,
            epoch=self._epoch,
            labels=self._options.labels,
            run_id=self._run.run_id if self._run is not None else "",
        )

    async def _go_alone(self) -> bool:
        """The coordinator is gone: drain, keep what is left over. True: leave for good."""
        run = self._run
        if run is not None:
            series = run.series
            if series is not None and series.is_started and not series.done.is_set():
                series.stop_now()
                await series.done.wait()  # every request has a deadline, so this ends
            _tell("worker: no coordinator for 30 s; the run was given up")
            await self._close_run()
        if self._options.once:
            self.leave(3)
            return True
        self._heard_ns = time.monotonic_ns()
        return False

    def say(self, message: pb.FromWorker) -> None:
        """Send, or keep for the next connection if the coordinator waits for it."""
        if message.WhichOneof("message") in _LASTING:
            self._lasting.append(message)
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)

    def _say_failure(self, text: str, exit_code: int) -> None:
        line = " ".join(text.split())
        self.say(pb.FromWorker(failure=pb.Failure(error=line, exit_code=exit_code)))

    # ------------------------------------------------------------ hearing
    def _hear(self, message: pb.ToWorker) -> None:
        kind = message.WhichOneof("message")
        if kind == "pong":
            self._take_pong(message.pong)
        elif kind == "welcome":
            self._heartbeat_s = message.welcome.heartbeat_interval_ns / NS_PER_S or HEARTBEAT_S
        elif kind == "measure_clock":
            self._spawn(self._measure_clock(message.measure_clock.count))
        elif kind == "control":
            self._spawn(self._control(message.control))
        elif kind in _STEPS:
            self._steps.put_nowait(message)

    async def _control(self, control: pb.Control) -> None:
        self.say(pb.FromWorker(control=await answer_control(control)))

    async def _beat(self) -> None:
        while True:
            # in a thread: a host of many processors takes a millisecond to tell
            taken = await asyncio.to_thread(self._process_stats.taken)
            run = self._run
            report = replace(
                self._process_stats.report(taken),
                unacknowledged_batches=run.outbox.unacknowledged_count if run else 0,
            )
            series = run.series if run is not None else None
            self.say(
                pb.FromWorker(
                    heartbeat=pb.Heartbeat(
                        issued=series.issued_count if series else 0,
                        completed=series.completed_count if series else 0,
                        outstanding=series.outstanding_count if series else 0,
                        report=pb.WorkerReport(figures=report.to_message()),
                    )
                )
            )
            self._look_for_silence()
            if self._options.with_parent and os.getppid() != self._parent_pid:
                self.leave(3)  # whoever would have collected our records is gone
            await asyncio.sleep(self._heartbeat_s)

    def _look_for_silence(self) -> None:
        """A partition breaks no connection: ping, and connect again when no pong comes."""
        self.say(pb.FromWorker(ping=pb.Ping(index=0, sent_ns=time.monotonic_ns())))
        if self._call is not None and time.monotonic_ns() - self._heard_ns > SILENCE_NS:
            self._is_silent = True
            self._call.cancel()

    # ------------------------------------------------------------ clock
    async def _measure_clock(self, count: int) -> None:
        samples = []
        for _ in range(max(1, min(count, CLOCK_COUNT_MAX))):
            sample = await self._ping()
            if sample is not None:
                samples.append(sample)
        if not samples:
            return
        self._offset = found = estimate_offset(samples)
        self.say(
            pb.FromWorker(
                clock=pb.ClockOffset(
                    offset_ns=found.offset_ns,
                    error_ns=found.error_ns,
                    measured_at_ns=found.measured_at_ns,
                    peer="coordinator",
                )
            )
        )

    async def _ping(self) -> ClockSample | None:
        self._ping_number += 1
        number = self._ping_number
        answer: asyncio.Future[ClockSample] = asyncio.get_running_loop().create_future()
        self._pongs[number] = answer
        self.say(pb.FromWorker(ping=pb.Ping(index=number, sent_ns=time.monotonic_ns())))
        try:
            return await asyncio.wait_for(answer, PONG_TIMEOUT_S)
        except TimeoutError:
            return None
        finally:
            del self._pongs[number]

    def _take_pong(self, pong: pb.Pong) -> None:
        answer = self._pongs.get(pong.index)
        if answer is not None and not answer.done():
            answer.set_result(
                ClockSample(pong.sent_ns, pong.received_ns, pong.replied_ns, self._heard_ns)
            )

    # ------------------------------------------------------------ steps
    async def _step_forever(self) -> None:
        while True:
            message = await self._steps.get()
            try:
                await self._step(message)
            except LoadgenError as error:
                self._say_failure(str(error), error.exit_code)
            except Exception as error:  # a bug must reach the user as a line, not as silence
                self._say_failure(f"worker failed: {type(error).__name__}: {error}", 3)

    async def _step(self, message: pb.ToWorker) -> None:
        kind = message.WhichOneof("message")
        if kind == "prepare":
            await self._prepare(message.prepare)
        elif kind == "arm":
            await self._arm(message.arm)
        elif kind == "start":
            self._start(message.start)
        elif kind == "stop":
            self._stop(message.stop)
        elif kind == "finish":
            await self._finish(message.finish)

    async def _prepare(self, order: pb.Prepare) -> None:
        if self._run is not None and self._run.run_id == order.run_id:
            return  # said twice over a reconnection
        await self._close_run()
        self._run = WorkerRun(order, self._options, self._channel, self.worker_id, self.say)
        plan_hash = await self._run.prepare()
        if order.expected_plan_hash not in ("", plan_hash):
            text = (
                f"worker {order.worker_index} derives the plan {plan_hash}, the service "
                f"{order.expected_plan_hash}: their versions differ; install the same one"
            )
            self._say_failure(text, 3)
            return
        self.say(pb.FromWorker(ready=pb.Ready(plan_hash=plan_hash, rss_bytes=rss_bytes())))

    async def _arm(self, arm: pb.Arm) -> None:
        run, series_index = self._run, arm.series_index
        if run is None or (run.series is not None and run.series.index == series_index):
            return
        self._lasting.clear()
        await run.arm(series_index, arm.target_qps)
        self.say(pb.FromWorker(armed=pb.SeriesArmed(series_index=series_index)))

    def _start(self, start: pb.Start) -> None:
        series = self._run.series if self._run is not None else None
        if series is None or series.index != start.series_index or series.is_started:
            return
        if self._offset is None:
            self._say_failure("the common start was given before the clock was measured", 3)
            return
        series.start(start.t0_coordinator_ns - self._offset.offset_ns)

    def _stop(self, stop: pb.Stop) -> None:
        series = self._run.series if self._run is not None else None
        if series is None or series.index != stop.series_index or not series.is_started:
            return
        if stop.reason == pb.ABANDON:
            series.abandon("the run was abandoned")
        else:
            series.stop(stop.stop_ns)

    async def _finish(self, finish: pb.Finish) -> None:
        await self._close_run()
        self._lasting.clear()
        if finish.exit or self._options.once:
            self.leave(self._exit_code)
        elif is_left_behind():
            _tell("worker: an interrupted official LoadGen cannot be ended; leaving with it")
            self.leave(3)

    async def _close_run(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        left_over = await run.close()
        if left_over:
            _tell(f"worker: batches that no coordinator acknowledged are kept in {left_over}")


async def _drain(outgoing: asyncio.Queue[pb.FromWorker]) -> AsyncIterator[pb.FromWorker]:
    while True:
        yield await outgoing.get()


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
