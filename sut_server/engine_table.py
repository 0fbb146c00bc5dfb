"""Which engine works off the requests of a model: a row a built-in one, batches for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sut_server.alarms import Alarms
from sut_server.engines.accumulator import ACCUMULATOR, AccumulatorEngine, accumulator_spec
from sut_server.engines.batch import BatchEngine, BatchLimits
from sut_server.engines.engine import ClockNs, Desk, Engine
from sut_server.engines.null import NULL, NullEngine, null_spec
from sut_server.engines.synthetic import SyntheticEngine, simple_spec
from sut_server.engines.token_engine import SYNTHETIC_STREAM, TokenEngine, stream_spec
from sut_server.engines.token_source import TokenSource
from sut_server.models.spec import Model, ModelSpec
from sut_server.options import NS_PER_US, ServeOptions

SYNTHETIC: Final = "synthetic"


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What a server gives its engines. ``log``: told the ns that each answer took."""

    options: ServeOptions
    alarms: Alarms
    clock_ns: ClockNs
    log: Callable[[int], None] | None
    tokens: TokenSource

    def desk(self, spec: ModelSpec) -> Desk:
        """The bookkeeping of one model."""
        return Desk(spec, self.clock_ns, self.log)


def _null(parts: EngineParts) -> Engine:
    return NullEngine(parts.desk(null_spec()))


def _synthetic(parts: EngineParts) -> Engine:
    asked = parts.options.synthetic
    spec = simple_spec(SYNTHETIC, asked.input_elements, asked.output_elements)
    return SyntheticEngine(asked, parts.desk(spec), parts.alarms)


def _synthetic_stream(parts: EngineParts) -> Engine:
    spec = stream_spec(parts.options.synthetic.input_elements)
    return TokenEngine(parts.desk(spec), parts.tokens)


def _accumulator(parts: EngineParts) -> Engine:
    desk = parts.desk(accumulator_spec())
    return AccumulatorEngine(parts.options.synthetic, desk, parts.alarms, parts.clock_ns)


MADE_HERE: Final[dict[str, Callable[[EngineParts], Engine]]] = {
    NULL: _null,
    SYNTHETIC: _synthetic,
    SYNTHETIC_STREAM: _synthetic_stream,
    ACCUMULATOR: _accumulator,
}
"""Models that need no file and no class, by their flag."""


def batch_engine(model: Model, parts: EngineParts) -> BatchEngine:
    """The engine of a loaded model."""
    options = parts.options
    limits = BatchLimits(
        options.max_batch,
        options.max_queue_delay_us * NS_PER_US,
        options.max_waiting,
        options.instances,
    )
    return BatchEngine(model, limits, parts.desk(model.spec), parts.alarms, parts.clock_ns)
