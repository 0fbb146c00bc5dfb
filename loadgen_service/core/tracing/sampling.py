"""Which queries are traced, under which ids: a pure function of the run's id and a query's number.

Nobody keeps a list: the worker that sends a trace context and the service that writes the spans
afterwards find the same ids, and so may a reader of records.parquet.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.scenarios import SCENARIOS

UInt64Array = npt.NDArray[np.uint64]
BoolArray = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.integer[Any]]

TRACEPARENT: Final = "traceparent"
"""Name of W3C Trace Context's header, in gRPC metadata as in HTTP."""

_RANDOM_BITS: Final = 56
"""W3C Trace Context, level 2: the rightmost 7 bytes of a trace id are random, and OpenTelemetry's
consistent sampling compares them with a threshold."""

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)


def _mixed(words: UInt64Array) -> UInt64Array:
    """splitmix64's finaliser: a bijection whose output bits all depend on all input bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: UInt64Array = words ^ (words >> np.uint64(31))
    return found


class TraceIds:
    """Ids of one series of a run. ``rate``: the share of queries that are traced, 0 to 1.

    A query is known by its number in the plan; in the offline scenario, whose one query is the
    whole run, each request counts as one (``unit_of``).
    """

    def __init__(self, run_id: str, plan: SeriesPlan, rate: float) -> None:
        digest = blake2b(f"{run_id}:{plan.spec.index}".encode(), digest_size=24).digest()
        self._head = int.from_bytes(digest[:8], "big") or 1  # an id of zeros would be no id
        self._seed = np.uint64(int.from_bytes(digest[8:16], "big"))
        self._span_seed = np.uint64(int.from_bytes(digest[16:], "big"))
        self._floor = np.uint64(round((1 - rate) * (1 << _RANDOM_BITS)))
        self._rows_a_unit = 1 if SCENARIOS[plan.scenario].pulled else plan.requests_per_query

    def unit_of(self, rows: Numbers) -> Numbers:
        """The traced unit of each request row of the plan."""
        return rows // self._rows_a_unit

    def is_sampled(self, units: Numbers) -> BoolArray:
        """Which of the units are traced."""
        sampled: BoolArray = self._tails(units) & np.uint64((1 << _RANDOM_BITS) - 1) >= self._floor
        return sampled

    def trace_id(self, unit: int) -> int:
        """128 bits, never 0."""
        return self._head << 64 | int(self._tails(np.array([unit]))[0])

    def query_span_id(self, unit: int) -> int:
        """64 bits: the span of the whole query, the root of its trace."""
        return self._span_id(2 * unit)

    def request_span_id(self, row: int) -> int:
        """64 bits: the span of one request, which the SUT's own spans have for a parent."""
        return self._span_id(2 * row + 1)

    def traceparent(self, row: int) -> str:
        """W3C Trace Context of a sampled request: version, trace id, parent id, flag sampled."""
        unit = row // self._rows_a_unit
        return f"00-{self.trace_id(unit):032x}-{self.request_span_id(row):016x}-01"

    def _span_id(self, number: int) -> int:
        words = np.array([number]).astype(np.uint64) * _STEP
        return int(_mixed(words + self._span_seed)[0]) or 1

    def _tails(self, units: Numbers) -> UInt64Array:
        return _mixed(units.astype(np.uint64) * _STEP + self._seed)
