"""A small stateful model: the running sum of each sequence, after a known time, in strict order."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from sut_server.alarms import Alarms
from sut_server.engines.calls import Call
from sut_server.engines.engine import ClockNs, Desk, Job
from sut_server.engines.faults import Fate, Fates, Slots
from sut_server.engines.model_stats import ModelFigures
from sut_server.engines.synthetic import SyntheticOptions
from sut_server.errors import CallError, Code
from sut_server.messages.infer import InferRequest
from sut_server.messages.sequence_params import LiveSequences, SequencePlace
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import Array, TensorSpec

ACCUMULATOR: Final = "accumulator"


def accumulator_spec() -> ModelSpec:
    """INT64 "input" [-1, 1] to INT64 "sum" and "step" [-1, 1]."""
    return ModelSpec(
        name=ACCUMULATOR,
        platform="sut_server_accumulator",
        inputs=(TensorSpec("input", "INT64", (-1, 1)),),
        outputs=(TensorSpec("sum", "INT64", (-1, 1)), TensorSpec("step", "INT64", (-1, 1))),
        is_stateful=True,
    )


class AccumulatorEngine:
    """Adds up what each sequence sends; service time and faults are the synthetic model's.

    An injected error leaves the sum as it was sent: the caller decides what becomes of the rest.
    """

    def __init__(
        self, options: SyntheticOptions, desk: Desk, alarms: Alarms, clock_ns: ClockNs
    ) -> None:
        self._desk = desk
        self._alarms = alarms
        self._clock_ns = clock_ns
        self._draws = options.service_time.draws(options.seed)
        self._fates = Fates(options.faults, options.seed)
        self._slots = Slots(options.concurrency_limit, options.faults, alarms)
        self.sequences = LiveSequences()

    @property
    def spec(self) -> ModelSpec:
        return self._desk.spec

    @property
    def figures(self) -> ModelFigures:
        return self._desk.figures

    def submit(self, call: Call, request: InferRequest) -> None:
        job, place = self._desk.receive(call, request), request.sequence
        try:
            if request.rows != 1:
                raise CallError(Code.INVALID_ARGUMENT, "a sequence takes one sample a request")
            value = int(request.inputs["input"][0, 0])
            found = self.sequences.begin(place, value, self._clock_ns())
        except CallError as error:
            self._desk.refuse(job, error.code, error.text)
            return
        assert place is not None
        fate = self._fates.draw()
        if fate is Fate.DROP:
            self._desk.drop(job)  # it takes its slot all the same, and leaves its sequence busy
        begin = partial(self._begin, job, place, found, fate)
        ticket = self._slots.take(call.received_ns, next(self._draws), begin)

        def gone() -> None:
            if ticket.cancel():
                self.sequences.end(place, self._clock_ns())

        job.on_gone = gone

    def hurry(self) -> None:
        """Nothing is held back."""

    def load_samples(self, sample_index: list[int]) -> None:
        """Nothing to prepare."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to release."""

    def _begin(
        self,
        job: Job,
        place: SequencePlace,
        found: tuple[int, int],
        fate: Fate,
        start_ns: int,
        end_ns: int,
    ) -> None:
        if fate is not Fate.DROP:
            self._alarms.at(end_ns, partial(self._end, job, place, found, fate, start_ns))

    def _end(
        self,
        job: Job,
        place: SequencePlace,
        found: tuple[int, int],
        fate: Fate,
        start_ns: int,
        now_ns: int,
    ) -> None:
        self.sequences.end(place, now_ns)
        compute_ns = now_ns - start_ns
        self.figures.execute(job.rows, compute_ns)
        if fate is Fate.ERROR:
            self._desk.refuse(job, Code.INTERNAL, "injected error (sut-server --error-rate)")
            return
        total, step = (np.array([[number]], dtype="<i8") for number in found)
        outputs: dict[str, Array] = {"sum": total, "step": step}
        self._desk.answer(job, outputs, start_ns - job.call.received_ns, compute_ns)
