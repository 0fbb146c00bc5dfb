"""Spans of the sampled queries of a series, made from its records; knows no collector.

A query's span runs from its scheduled instant to its end. Below it: the issue delay (until a worker
took it), the time blocked (until it was handed to the transport) and the call, whose id is the
parent of the SUT's own spans. Attributes follow OpenTelemetry's semantic conventions where they
name a thing; ours begin with ``loadgen.``.

Which queries are traced, under which ids: a pure function of the run's id and a query's number.

Nobody keeps a list: the worker that sends a trace context and the service that writes the spans
afterwards find the same ids, and so may a reader of records.parquet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.facts.run import RunFacts, SutFacts
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.protocols import TracedCall, Value
from loadgen_service.core.records.columns import CODE_BROKEN_CONNECTION, NEVER, Status
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings

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


_CODE_NAMES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span. Instants are wall-clock ns; ``parent_id`` 0: the root of its trace.

    ``is_call``: a client's span, else an inner one. ``events``: (name, instant). ``error``: why it
    failed, empty if it did not.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    is_call: bool = False
    attributes: dict[str, Value] = field(default_factory=dict)
    events: tuple[tuple[str, int], ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Request:
    """One row of the table."""

    row: int
    at: int
    status: int
    code: int
    released_ns: int
    issued_ns: int
    first_ns: int
    end_ns: int

    @property
    def error(self) -> str:
        """``error.type``: empty where it was answered."""
        if self.status == Status.COMPLETED:
            return ""
        if self.status == Status.LOST:
            return "lost"
        if self.code == CODE_BROKEN_CONNECTION:
            return "broken_connection"
        return _CODE_NAMES[self.code] if self.code < len(_CODE_NAMES) else str(self.code)


class SeriesSpans:
    """Spans of one series. ``start_unix_ns``: the wall clock at its start."""

    def __init__(
        self, settings: Settings, facts: RunFacts, plan: SeriesPlan, start_unix_ns: int
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._plan = plan
        self._start_ns = start_unix_ns
        self._ids = TraceIds(facts.run_id, plan, settings.trace_sample_rate)

    def sampled_units(self, table: RequestTable) -> np.ndarray:
        """Traced units (``TraceIds``) that were issued, ascending."""
        units = self._ids.unit_of(table.row)
        found: np.ndarray = np.unique(
            units[self._ids.is_sampled(units) & (table.status != Status.NOT_ISSUED)]
        )
        return found

    def spans(self, table: RequestTable, units: np.ndarray) -> Iterator[TraceSpan]:
        """All spans of some units, one after another. ``table`` is in plan order."""
        of_rows = self._ids.unit_of(table.row)
        starts = np.searchsorted(of_rows, units, "left")
        stops = np.searchsorted(of_rows, units, "right")
        for unit, start, stop in zip(units.tolist(), starts, stops, strict=True):
            places = range(int(start), int(stop))
            yield from self._query(table, unit, [self._request(table, at) for at in places])

    def _request(self, table: RequestTable, at: int) -> _Request:
        taken, issued = int(table.released_ns[at]), int(table.issued_ns[at])
        end, status = int(table.completed_ns[at]), int(table.status[at])
        if end == NEVER:
            end = max(int(table.scheduled_ns[at]), taken, issued)
            if status == Status.TIMED_OUT:
                end += self._settings.deadline_ns
        first = int(table.first_response_ns[at])
        return _Request(
            int(table.row[at]), at, status, int(table.code[at]), taken, issued, first, end
        )

    def _query(
        self, table: RequestTable, unit: int, requests: list[_Request]
    ) -> Iterator[TraceSpan]:
        requests = [one for one in requests if one.status != Status.NOT_ISSUED]
        scheduled = max(0, min(int(table.scheduled_ns[one.at]) for one in requests))
        errors = sorted({one.error for one in requests} - {""})
        root = TraceSpan(
            name=f"query {self._settings.model}",
            trace_id=self._ids.trace_id(unit),
            span_id=self._ids.query_span_id(unit),
            parent_id=0,
            start_ns=self._start_ns + scheduled,
            end_ns=self._start_ns + max(scheduled, *(one.end_ns for one in requests)),
            attributes=self._query_attributes(requests),
            error=", ".join(errors),
        )
        yield root
        for one in requests:
            yield from self._below(root, table, one, scheduled)

    def _below(
        self, root: TraceSpan, table: RequestTable, one: _Request, scheduled: int
    ) -> Iterator[TraceSpan]:
        """Issue delay, blocked and call of one request; those that took no time are left out."""
        span_id = self._ids.request_span_id(one.row)
        inner = replace(root, parent_id=root.span_id, attributes={}, error="")
        stretches = (
            ("issue delay", scheduled, one.released_ns),
            ("blocked", one.released_ns, one.issued_ns),
        )
        for number, (name, start, end) in enumerate(stretches, start=1):
            if NEVER != start < end:
                yield replace(
                    inner,
                    name=name,
                    span_id=span_id ^ number or number,
                    start_ns=self._start_ns + start,
                    end_ns=self._start_ns + end,
                )
        start = one.issued_ns if one.issued_ns != NEVER else max(scheduled, one.released_ns)
        events: tuple[tuple[str, int], ...] = ()
        if NEVER != one.first_ns < one.end_ns:
            events = (("first token", self._start_ns + one.first_ns),)
        name, attributes = self._call(table, one)
        yield replace(
            inner,
            name=name,
            span_id=span_id,
            start_ns=self._start_ns + start,
            end_ns=self._start_ns + one.end_ns,
            is_call=True,
            attributes=attributes,
            events=events,
            error=one.error,
        )

    def _query_attributes(self, requests: list[_Request]) -> dict[str, Value]:
        plan, row = self._plan, requests[0].row
        first = row * plan.samples_per_request
        return {
            "loadgen.run_id": self._facts.run_id,
            "loadgen.scenario": plan.scenario,
            "loadgen.series": plan.spec.index,
            "loadgen.query_index": row // plan.requests_per_query,
            "loadgen.sample_index": int(plan.samples[first % max(1, len(plan.samples))]),
            "loadgen.request_count": len(requests),
        }

    def _call(self, table: RequestTable, one: _Request) -> tuple[str, dict[str, Value]]:
        """Name and attributes of a request's own span."""
        settings = self._settings
        has_code = one.status != Status.LOST and one.code < len(_CODE_NAMES)
        name, attributes = settings.protocol.trace(
            TracedCall(
                model=settings.model,
                api=settings.openai_api,
                token_count=int(table.token_count[one.at]),
                code=one.code if has_code else None,
            )
        )
        suts, sut = self._facts.suts, int(table.sut_index[one.at])
        if 0 <= sut < len(suts):
            attributes |= _server(suts[sut])
        attributes["loadgen.request_index"] = one.row
        attributes["loadgen.worker_index"] = int(table.worker_index[one.at])
        for column in ("server_queue_ns", "server_compute_ns"):
            if column in table.server and table.server[column][one.at] != NEVER:
                attributes[f"loadgen.{column}"] = int(table.server[column][one.at])
        if one.error:
            attributes["error.type"] = one.error
        return name, attributes


def _server(sut: SutFacts) -> dict[str, Value]:
    """``server.address`` and ``server.port`` of an address as the user wrote it."""
    target = sut.address.partition("://")[2].partition("/")[0] or sut.address
    host, _, port = target.rpartition(":")
    found: dict[str, Value] = {"server.address": host.strip("[]") or target}
    if host and port.isdigit():
        found["server.port"] = int(port)
    return found
