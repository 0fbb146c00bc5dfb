"""A script as an engine of sut-server: requests become samples, completions become answers.

Runs on the server's loop; the script runs elsewhere. Settles every call once, whatever the script
does: a sample answered twice, or never asked, is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from loadgen_service.binding.answers import Answer
from loadgen_service.binding.values import QuerySample
from sut_server.engines.calls import Call
from sut_server.engines.engine import Desk, Job
from sut_server.engines.model_stats import ModelFigures
from sut_server.errors import Code
from sut_server.messages.infer import InferRequest
from sut_server.models.spec import ModelSpec

INDEX_INPUT: Final = "mlperf_sample_index"
OUTPUT: Final = "data"


class Script(Protocol):
    """What the engine asks of whoever calls the script."""

    def issue(self, sample: QuerySample) -> None: ...

    def flush(self) -> None: ...

    def load(self, samples: list[int]) -> None: ...

    def unload(self, samples: list[int]) -> None: ...


@dataclass(slots=True)
class _Open:
    job: Job
    issued_ns: int


class ScriptEngine:
    """One served script. ``sample_count``: numbers from there on are refused."""

    def __init__(
        self, spec: ModelSpec, script: Script, sample_count: int, clock_ns: Callable[[], int]
    ) -> None:
        self._desk = Desk(spec, clock_ns)
        self._script = script
        self._sample_count = sample_count
        self._clock_ns = clock_ns
        self._open: dict[int, _Open] = {}
        self._next_id = 1
        self._takes_index = len(spec.inputs) == 1 and spec.inputs[0].name == INDEX_INPUT

    @property
    def spec(self) -> ModelSpec:
        return self._desk.spec

    @property
    def figures(self) -> ModelFigures:
        return self._desk.figures

    def submit(self, call: Call, request: InferRequest) -> None:
        job = self._desk.receive(call, request)
        if self.spec.is_decoupled and not call.is_streamed:
            text = f"model '{self.spec.name}' is decoupled: call ModelStreamInfer"
            self._desk.refuse(job, Code.UNIMPLEMENTED, text)
            return
        index, inputs = -1, None
        if self._takes_index:
            index = int(request.inputs[INDEX_INPUT][0])
            if not 0 <= index < self._sample_count:
                text = f"sample {index}: the script has {self._sample_count}"
                self._desk.refuse(job, Code.INVALID_ARGUMENT, text)
                return
        else:
            inputs = request.inputs
        sample_id, self._next_id = self._next_id, self._next_id + 1
        self._open[sample_id] = _Open(job, self._clock_ns())
        self._script.issue(QuerySample(sample_id, index, inputs))

    def answer(self, answers: Sequence[Answer]) -> None:
        """Completions of the script, on the loop."""
        for one in answers:
            found = self._open.get(one.sample_id)
            if found is None or (one.is_first and not self.spec.is_decoupled):
                continue
            outputs = {OUTPUT: np.frombuffer(one.content or b"", dtype=np.uint8)}
            if one.is_first:
                self._desk.stream(found.job, outputs, is_last=False)
                continue
            del self._open[one.sample_id]
            if self.spec.is_decoupled:
                self._desk.stream(found.job, outputs, is_last=True)
                continue
            compute_ns = max(0, one.now_ns - found.issued_ns)
            self.figures.execute(1, compute_ns)
            queue_ns = max(0, found.issued_ns - found.job.call.received_ns)
            self._desk.answer(found.job, outputs, queue_ns, compute_ns)

    def hurry(self) -> None:
        """The client flushes: so may the script."""
        self._script.flush()

    def load_samples(self, sample_index: list[int]) -> None:
        self._script.load(sample_index)

    def unload_samples(self, sample_index: list[int]) -> None:
        self._script.unload(sample_index)

    def close(self) -> None:
        """What is open is no longer answered."""
        self._open.clear()
