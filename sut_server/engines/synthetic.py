"""A model that computes nothing and takes a known time, with faults on purpose.

The service times come from a seed, so a measured tail can be compared with a known one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from sut_server.alarms import Alarms
from sut_server.engines.calls import Call
from sut_server.engines.engine import Desk, Job
from sut_server.engines.faults import Fate, Fates, FaultPlan, Slots
from sut_server.engines.model_stats import ModelFigures
from sut_server.engines.service_time import ServiceTime
from sut_server.errors import Code
from sut_server.messages.infer import InferRequest
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import Array, TensorSpec

INPUT_ELEMENTS: Final = 16
OUTPUT_ELEMENTS: Final = 1


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """Service time, its seed, slots (0: no limit), faults and the size of the tensors."""

    service_time: ServiceTime
    seed: int
    concurrency_limit: int
    faults: FaultPlan
    input_elements: int = INPUT_ELEMENTS
    output_elements: int = OUTPUT_ELEMENTS


def simple_spec(name: str, input_elements: int, output_elements: int) -> ModelSpec:
    """FP32 "input" [-1, i] to FP32 "output" [-1, o]."""
    return ModelSpec(
        name=name,
        platform=f"sut_server_{name}",
        inputs=(TensorSpec("input", "FP32", (-1, input_elements)),),
        outputs=(TensorSpec("output", "FP32", (-1, output_elements)),),
    )


class SyntheticEngine:
    """Answers zeros at the instant that the service time, the slots and the faults give."""

    def __init__(self, options: SyntheticOptions, desk: Desk, alarms: Alarms) -> None:
        self._options = options
        self._desk = desk
        self._alarms = alarms
        self._draws = options.service_time.draws(options.seed)
        self._fates = Fates(options.faults, options.seed)
        self._slots = Slots(options.concurrency_limit, options.faults, alarms)

    @property
    def spec(self) -> ModelSpec:
        return self._desk.spec

    @property
    def figures(self) -> ModelFigures:
        return self._desk.figures

    def submit(self, call: Call, request: InferRequest) -> None:
        job = self._desk.receive(call, request)
        fate = self._fates.draw()
        if fate is Fate.DROP:
            self._desk.drop(job)  # it takes its slot all the same
        begin = partial(self._begin, job, fate)
        job.on_gone = self._slots.take(call.received_ns, next(self._draws), begin).cancel

    def hurry(self) -> None:
        """Nothing is held back."""

    def load_samples(self, sample_index: list[int]) -> None:
        """Nothing to prepare."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to release."""

    def _begin(self, job: Job, fate: Fate, start_ns: int, end_ns: int) -> None:
        if fate is not Fate.DROP:
            self._alarms.at(end_ns, partial(self._end, job, fate, start_ns))

    def _end(self, job: Job, fate: Fate, start_ns: int, now_ns: int) -> None:
        compute_ns = now_ns - start_ns
        self.figures.execute(job.rows, compute_ns)
        if fate is Fate.ERROR:
            self._desk.refuse(job, Code.INTERNAL, "injected error (sut-server --error-rate)")
            return
        zeros = np.zeros((job.rows, self._options.output_elements), dtype="<f4")
        outputs: dict[str, Array] = {"output": zeros}
        self._desk.answer(job, outputs, start_ns - job.call.received_ns, compute_ns)
