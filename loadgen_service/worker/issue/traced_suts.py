"""SUTs of a series whose sampled requests carry a trace context; the loop does not know.

Only a run that traces has these in front of its adapters: one look into a table a request, and
numpy once in ``BLOCK`` requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.tracing.spans import TraceIds
from loadgen_service.sut.interface import Cell, Parts, SystemUnderTest

BLOCK: Final = 4096
"""Positions whose sampling is decided together, in some 100 us."""


class SampledPositions:
    """Which positions of a worker's shard are traced. ``rows``: their rows in the plan."""

    def __init__(self, ids: TraceIds, rows: range | np.ndarray) -> None:
        self._ids = ids
        self._rows = rows
        self._block = -1
        self._sampled = b""

    def traceparent(self, position: int) -> str:
        """The trace context of a position, or "" where it is not sampled."""
        block = position // BLOCK
        if block != self._block:
            self._block = block
            self._sampled = self._decided(block)
        if not self._sampled[position % BLOCK]:
            return ""
        return self._ids.traceparent(int(self._rows[position]))

    def _decided(self, block: int) -> bytes:
        rows = np.asarray(self._rows[block * BLOCK : (block + 1) * BLOCK])
        return self._ids.is_sampled(self._ids.unit_of(rows)).tobytes()


class TracedSut:
    """One adapter of a traced series."""

    def __init__(self, sut: SystemUnderTest, positions: SampledPositions) -> None:
        self._sut = sut
        self._issue = sut.issue
        self._traceparent = positions.traceparent
        self.address = sut.address
        self.flush, self.cancel, self.sweep = sut.flush, sut.cancel, sut.sweep

    @property
    def blocked_count(self) -> int:
        """See ``interface.SystemUnderTest``."""
        return self._sut.blocked_count

    @property
    def waiting_count(self) -> int:
        """See ``interface.SystemUnderTest``."""
        return self._sut.waiting_count

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """See ``interface.SystemUnderTest``; ``key`` is a position of the shard."""
        traceparent = self._traceparent(key)
        if traceparent:
            return self._sut.issue_traced(key, parts, released_ns, traceparent)
        return self._issue(key, parts, released_ns)


def traced_suts(
    suts: Sequence[SystemUnderTest],
    run_id: str,
    plan: SeriesPlan,
    rows: range | np.ndarray,
    rate: float,
) -> Sequence[SystemUnderTest]:
    """``suts`` as they are where nothing is traced; else in front of each what samples."""
    if not rate:
        return suts
    positions = SampledPositions(TraceIds(run_id, plan, rate), rows)
    return [TracedSut(sut, positions) for sut in suts]  # type: ignore[misc]  # opened elsewhere
