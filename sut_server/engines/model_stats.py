"""What one model has done so far: counts, spans, batches, and when everything asked is answered.

Pure sums over instants that the caller supplies; feeds ModelStatistics, Prometheus and Flush.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sut_server.errors import Code
from sut_server.messages.infer import Timings

LATENCY_BOUNDS_NS: Final = tuple(
    mantissa * 10**exponent for exponent in range(4, 11) for mantissa in (10, 18, 32, 56)
)
"""Upper bounds of the buckets: four a decade, 100 us to 560 s."""

BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Buckets:
    """Counts under fixed upper bounds, with the sum; what Prometheus calls a histogram."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.total = 0

    def add(self, number: int) -> None:
        """Count one number; those above the last bound go to the last bucket."""
        self.counts[bisect_left(self.bounds, number)] += 1
        self.count += 1
        self.total += number


@dataclass(slots=True)
class BatchFigures:
    """Executions of one batch size."""

    execution_count: int = 0
    compute_ns: int = 0


@dataclass(slots=True)
class _Flush:
    last_sequence: int
    remaining: int
    call: Callable[[], None]


@dataclass(slots=True)
class ModelFigures:
    """One model's sums since the start. Every received request is settled exactly once."""

    received_count: int = 0
    last_received_ns: int = 0
    settled_count: int = 0
    success_rows: int = 0
    failed_ns: int = 0
    by_code: dict[int, int] = field(default_factory=dict)
    latency: Buckets = field(default_factory=lambda: Buckets(LATENCY_BOUNDS_NS))
    queue: Buckets = field(default_factory=lambda: Buckets(LATENCY_BOUNDS_NS))
    compute: Buckets = field(default_factory=lambda: Buckets(LATENCY_BOUNDS_NS))
    batch_rows: Buckets = field(default_factory=lambda: Buckets(BATCH_BOUNDS))
    batches: dict[int, BatchFigures] = field(default_factory=dict)
    _flushes: list[_Flush] = field(default_factory=list)

    @property
    def outstanding_count(self) -> int:
        return self.received_count - self.settled_count

    def receive(self, now_ns: int) -> int:
        """A request came; the number it keeps until it is settled."""
        self.last_received_ns = now_ns
        self.received_count += 1
        return self.received_count

    def receive_answered(self, count: int, now_ns: int) -> None:
        """``count`` requests came and were answered on the spot (the null model)."""
        self.last_received_ns = now_ns
        self.received_count += count
        self.settled_count += count
        self.success_rows += count
        self.by_code[0] = self.by_code.get(0, 0) + count

    def succeed(self, sequence: int, rows: int, timings: Timings) -> None:
        """A request was answered."""
        self.success_rows += rows
        self.latency.add(timings.sent_ns - timings.received_ns)
        self.queue.add(timings.queue_ns)
        self.compute.add(timings.compute_ns)
        self._settle(sequence, Code.OK)

    def fail(self, sequence: int, code: Code, elapsed_ns: int) -> None:
        """A request was refused, failed or given up by its caller."""
        self.failed_ns += elapsed_ns
        self._settle(sequence, code)

    def execute(self, rows: int, compute_ns: int) -> None:
        """The model ran one batch."""
        self.batch_rows.add(rows)
        batch = self.batches.setdefault(rows, BatchFigures())
        batch.execution_count += 1
        batch.compute_ns += compute_ns

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call once every request received so far is settled; at once if none is outstanding."""
        if self.outstanding_count == 0:
            call()
        else:
            self._flushes.append(_Flush(self.received_count, self.outstanding_count, call))

    def _settle(self, sequence: int, code: Code) -> None:
        self.settled_count += 1
        self.by_code[code] = self.by_code.get(code, 0) + 1
        if self._flushes:
            self._settle_flushes(sequence)

    def _settle_flushes(self, sequence: int) -> None:
        for flush in self._flushes:
            flush.remaining -= sequence <= flush.last_sequence
        done = [flush for flush in self._flushes if flush.remaining == 0]
        self._flushes = [flush for flush in self._flushes if flush.remaining > 0]
        for flush in done:
            flush.call()
