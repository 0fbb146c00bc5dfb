"""Runs a model on its own threads, in batches that the batcher cuts."""

from __future__ import annotations

import asyncio
import sys
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sut_server.alarms import Alarms
from sut_server.engines.batcher import Batcher
from sut_server.engines.calls import Call
from sut_server.engines.engine import ClockNs, Desk, Job
from sut_server.engines.model_stats import ModelFigures
from sut_server.engines.warm_up import warm_up, warm_up_batch
from sut_server.errors import CallError, Code, described
from sut_server.messages.infer import InferRequest, checked_outputs
from sut_server.models.spec import Batch, Model, ModelSpec
from sut_server.models.tensors import Array


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """``max_rows`` a batch, how long a request waits for company, how many may wait, threads."""

    max_rows: int
    max_delay_ns: int
    max_waiting: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class _Ran:
    outputs: dict[str, Array]
    started_ns: int
    compute_ns: int


class BatchEngine:
    """A model behind a dynamic batcher and ``instance_count`` threads."""

    def __init__(
        self,
        model: Model,
        limits: BatchLimits,
        desk: Desk,
        alarms: Alarms,
        clock_ns: ClockNs,
    ) -> None:
        self._model = model
        self._desk = desk
        self._alarms = alarms
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._free_count = self._instance_count = limits.instance_count
        self._max_rows = max_rows = limits.max_rows if model.spec.is_batched else 1
        self._batcher: Batcher[Job] = Batcher(max_rows, limits.max_delay_ns, limits.max_waiting)
        self._threads = ThreadPoolExecutor(limits.instance_count, thread_name_prefix="infer")
        self._alarm_ns: int | None = None

    @property
    def spec(self) -> ModelSpec:
        return self._desk.spec

    @property
    def figures(self) -> ModelFigures:
        return self._desk.figures

    def warm_up(self, sample: Path) -> None:
        """Before anything is submitted: a batch of zeros, or of a sample, on each thread.

        Raises UsageError where the model cannot.
        """
        batch = warm_up_batch(self.spec, self._max_rows, sample)
        warm_up(self._model, self._max_rows, self._threads, self._free_count, batch)

    def submit(self, call: Call, request: InferRequest) -> None:
        job = self._desk.receive(call, request)
        now_ns = self._clock_ns()
        job.on_gone = self._batcher.note_dead
        if self._batcher.add(job, now_ns):
            self._start_due(now_ns)
        else:
            text = "the server's queue is full (sut-server --max-waiting)"
            self._desk.refuse(job, Code.UNAVAILABLE, text)

    def hurry(self) -> None:
        self._batcher.hurry()
        self._start_due(self._clock_ns())

    def load_samples(self, sample_index: list[int]) -> None:
        self._model.load_samples(sample_index)

    def unload_samples(self, sample_index: list[int]) -> None:
        self._model.unload_samples(sample_index)

    @property
    def is_running(self) -> bool:
        """The model runs a batch, or has not come back from one; a model that can be ended has."""
        return self._free_count < self._instance_count and not hasattr(self._model, "close")

    def close(self) -> None:
        end = getattr(self._model, "close", None)  # of a model in a process of its own
        if end is not None:
            end()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start_due(self, now_ns: int) -> None:
        for jobs in self._batcher.due(now_ns, self._free_count):
            self._free_count -= 1
            inputs = [job.request.inputs for job in jobs]
            rows = sum(job.rows for job in jobs)
            for job in jobs:
                job.on_gone = None
            future = self._threads.submit(_run, self._model, inputs, rows, self._clock_ns)
            future.add_done_callback(partial(self._hand_back, jobs))
        wake_ns = self._batcher.wake_ns() if self._free_count else None
        if wake_ns is not None and wake_ns != self._alarm_ns:
            self._alarm_ns = wake_ns
            self._alarms.at(wake_ns, self._start_due)

    def _hand_back(self, jobs: list[Job], done: Future[_Ran]) -> None:
        """On the model's thread: continue on the loop, unless the loop has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish, jobs, done)

    def _finish(self, jobs: list[Job], done: Future[_Ran]) -> None:
        self._free_count += 1
        # The next batch first: the model must not wait for the encoding of this one's answers.
        self._start_due(self._clock_ns())
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._answer(jobs, done.result())
            return
        text = error.text if isinstance(error, CallError) else _one_line(self.spec.name, error)
        for job in jobs:
            self._desk.refuse(job, Code.INTERNAL, text)

    def _answer(self, jobs: list[Job], ran: _Ran) -> None:
        self.figures.execute(sum(job.rows for job in jobs), ran.compute_ns)
        first = 0
        for job in jobs:
            last = first + job.rows
            rows = (
                {name: array[first:last] for name, array in ran.outputs.items()}
                if len(jobs) > 1
                else ran.outputs
            )
            queue_ns = max(0, ran.started_ns - job.call.received_ns)
            self._desk.answer(job, rows, queue_ns, ran.compute_ns)
            first = last


def _run(model: Model, inputs: list[dict[str, Array]], rows: int, clock_ns: ClockNs) -> _Ran:
    """On a thread: join the requests, run the model, check what it gave."""
    started_ns = clock_ns()
    outputs = model.infer(_joined(inputs))
    checked = checked_outputs(outputs, model.spec, rows)
    return _Ran(checked, started_ns, clock_ns() - started_ns)


def _joined(inputs: list[dict[str, Array]]) -> Batch:
    if len(inputs) == 1:
        return {name: np.require(array, requirements="A") for name, array in inputs[0].items()}
    return {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}


def _one_line(model_name: str, error: BaseException) -> str:
    traceback.print_exception(error, file=sys.stderr)
    return f"model '{model_name}' failed: {described(error)}"
