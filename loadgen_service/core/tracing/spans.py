"""Spans of the sampled queries of a series, made from its records; knows no collector.

A query's span runs from its scheduled instant to its end. Below it: the issue delay (until a worker
took it), the time blocked (until it was handed to the transport) and the call, whose id is the
parent of the SUT's own spans. Attributes follow OpenTelemetry's semantic conventions where they
name a thing; ours begin with ``loadgen.``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from loadgen_service.core.facts.run import RunFacts, SutFacts
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.protocols import TracedCall, Value
from loadgen_service.core.records.columns import CODE_BROKEN_CONNECTION, NEVER, Status
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.settings import Settings
from loadgen_service.core.tracing.sampling import TraceIds

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
