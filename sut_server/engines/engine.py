"""How requests of one model are worked off: on threads in batches, on a synthetic clock, at once.

An engine owns the model's figures and settles every call it takes. All methods run on the event
loop; only ``Model.infer`` leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sut_server.engines.calls import Call
from sut_server.engines.model_stats import ModelFigures
from sut_server.errors import CallError, Code
from sut_server.messages.infer import InferRequest, ResponseEncoder, Timings, final_parameter
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import Array

ClockNs = Callable[[], int]

FINAL: Final = final_parameter(True)
NOT_FINAL: Final = final_parameter(False)


class Engine(Protocol):
    """One served model."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def figures(self) -> ModelFigures: ...

    def submit(self, call: Call, request: InferRequest) -> None:
        """Take a request; its call is settled now or later."""

    def hurry(self) -> None:
        """Do not hold requests back for fuller batches any longer (a flush is waiting)."""

    def load_samples(self, sample_index: list[int]) -> None: ...

    def unload_samples(self, sample_index: list[int]) -> None: ...

    def close(self) -> None:
        """Release threads and files; outstanding calls are no longer answered."""


@dataclass(slots=True)
class Job:
    """A request on its way through an engine."""

    call: Call
    request: InferRequest
    sequence: int
    on_gone: Callable[[], object] | None = None
    """Where its tensor lies beside those of other requests."""

    @property
    def wants_final(self) -> bool:
        """Its caller reads a stream and asked to be told which answer is the last."""
        return self.request.wants_final and self.call.is_streamed

    @property
    def rows(self) -> int:
        return self.request.rows

    @property
    def merge_key(self) -> tuple[tuple[int, ...], ...]:
        return self.request.merge_key

    @property
    def alive(self) -> bool:
        return self.call.alive


class Desk:
    """The bookkeeping that engines share: receive a call, settle it, count it, log it."""

    def __init__(
        self, spec: ModelSpec, clock_ns: ClockNs, log: Callable[[int], None] | None = None
    ) -> None:
        self.spec = spec
        self.figures = ModelFigures()
        self._clock_ns = clock_ns
        self._encoder = ResponseEncoder(spec)
        self._log = log

    def receive(self, call: Call, request: InferRequest) -> Job:
        """Count a request; if its caller leaves first, it is settled as CANCELLED."""
        sequence = self.figures.receive(call.received_ns)

        job = Job(call, request, sequence)

        def gone() -> None:
            self.figures.fail(sequence, Code.CANCELLED, self._clock_ns() - call.received_ns)
            job.request = replace(job.request, inputs={}, places={})  # it may wait for long
            if job.on_gone is not None:
                job.on_gone()

        call.on_gone(gone)
        return job

    def answer(
        self, job: Job, outputs: Mapping[str, Array], queue_ns: int, compute_ns: int
    ) -> None:
        """Send a job's rows; its service time is logged from receipt to this instant."""
        if not job.alive:
            return
        received_ns = job.call.received_ns
        timings = Timings(received_ns, queue_ns, compute_ns, sent_ns=self._clock_ns())
        try:
            parts = self._encoder.encode(job.request, outputs, timings)
        except CallError as error:
            self.refuse(job, error.code, error.text)
            return
        if job.wants_final:
            parts.append(FINAL)
        job.call.answer(parts)
        self.figures.succeed(job.sequence, job.rows, timings)
        if self._log is not None:
            self._log(timings.sent_ns - received_ns)

    def stream(self, job: Job, outputs: Mapping[str, Array], *, is_last: bool) -> None:
        """Send one of a job's many answers; the last one settles it."""
        if not job.alive:
            return
        try:
            parts = self._encoder.encode(job.request, outputs, None)
        except CallError as error:
            self.refuse(job, error.code, error.text)
            return
        if job.wants_final:
            parts.append(FINAL if is_last else NOT_FINAL)
        if not is_last:
            job.call.send(parts)
            return
        job.call.answer(parts)
        received_ns, now_ns = job.call.received_ns, self._clock_ns()
        self.figures.execute(job.rows, now_ns - received_ns)
        timings = Timings(received_ns, 0, now_ns - received_ns, now_ns)
        self.figures.succeed(job.sequence, job.rows, timings)
        if self._log is not None:
            self._log(now_ns - received_ns)

    def refuse(self, job: Job, code: Code, text: str) -> None:
        """End a job with a status."""
        if job.alive:
            job.call.refuse(code, text)
            elapsed_ns = self._clock_ns() - job.call.received_ns
            self.figures.fail(job.sequence, code, elapsed_ns)

    def drop(self, job: Job) -> None:
        """Never answer a job; it counts as settled (code CANCELLED), so that a flush returns."""
        if job.alive:
            job.call.drop()
            self.figures.fail(job.sequence, Code.CANCELLED, 0)
