"""Series for tests of the statistics: a plan, and records as workers would have sent them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from loadgen_service.core.facts.run import RunFacts, SeriesFacts, SutFacts, WorkerFacts
from loadgen_service.core.figures.series import SeriesFigures, series_figures
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    plan_series,
    series_specs,
    shard_rows,
)
from loadgen_service.core.records.columns import NEVER, REQUEST_COLUMNS, Status
from loadgen_service.core.records.request_table import RequestTable, assemble
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.judge import Verdict, judge

MS = 1_000_000
COUNTS = SampleCounts(total=64, performance=64)


def plan_of(settings: Settings, series: int = 0) -> SeriesPlan:
    return plan_series(settings, COUNTS, series_specs(settings, COUNTS)[series])


def scheduled_of(plan: SeriesPlan, rows: np.ndarray) -> np.ndarray:
    return plan.scheduled_ns[rows // plan.requests_per_query % plan.query_count]


def records_of(
    plan: SeriesPlan,
    rows: np.ndarray,
    latency_ns: int | np.ndarray = 5 * MS,
    scheduled_ns: np.ndarray | None = None,
    **changed: Any,
) -> dict[str, np.ndarray]:
    """Records of ``rows``, all completed ``latency_ns`` after the due instant unless changed."""
    rows = np.asarray(rows, dtype=np.int64)
    due = scheduled_of(plan, rows) if scheduled_ns is None else scheduled_ns
    columns = {
        "row": rows,
        "scheduled_ns": due,
        "released_ns": due + 20_000,
        "issued_ns": due + 30_000,
        "first_response_ns": due + latency_ns,
        "completed_ns": due + latency_ns,
        "status": np.full(len(rows), Status.COMPLETED),
        "code": np.zeros(len(rows)),
        "sut_index": np.zeros(len(rows)),
        "token_count": np.zeros(len(rows)),
    } | changed
    typed = {n: np.array(columns.pop(n)).astype(t) for n, t in REQUEST_COLUMNS.items()}
    return typed | {n: np.asarray(c, dtype=np.int64) for n, c in columns.items()}


def fail_rows(records: dict[str, np.ndarray], at: Any, status: Status) -> None:
    """Turn some records into ones without a good answer."""
    records["status"][at] = status
    records["completed_ns"][at] = NEVER
    records["first_response_ns"][at] = NEVER


@dataclass
class Series:
    """One worker's or several workers' series, with every default sound."""

    settings: Settings
    plan: SeriesPlan = field(init=False)
    records: dict[str, np.ndarray] = field(init=False)
    workers: list[WorkerFacts] = field(init=False)
    facts: SeriesFacts = field(init=False)
    run: RunFacts = field(init=False)
    series: int = 0

    def __post_init__(self) -> None:
        self.plan = plan_of(self.settings, self.series)
        count = 1000 if self.plan.unbounded else self.plan.request_count
        self.records = records_of(self.plan, np.arange(count))
        self.workers = [
            WorkerFacts(j, ended_by="plan", issued_count=len(range(j, count, self.k)))
            for j in range(self.k)
        ]
        self.facts = SeriesFacts(self.series)
        self.run = RunFacts(
            run_id="test",
            plan_hash="plan-v1:0",
            workload_hash="workload-v1:0",
            series=(),
            suts=[SutFacts(0, "grpc://127.0.0.1:1")],
            total_sample_count=COUNTS.total,
            performance_sample_count=COUNTS.performance,
        )

    @property
    def k(self) -> int:
        return self.settings.workers

    @property
    def series_facts(self) -> SeriesFacts:
        return replace(self.facts, workers=self.workers)

    @property
    def run_facts(self) -> RunFacts:
        return replace(self.run, series=[self.series_facts])

    def table(self) -> RequestTable:
        shards = [shard_rows(self.plan, j, self.k, self.settings) for j in range(self.k)]
        return assemble(self.plan, dict(self.records), self.series_facts, shards)

    def figures(self) -> SeriesFigures:
        return series_figures(self.settings, self.plan, self.table(), self.series_facts)

    def verdict(self) -> Verdict:
        return judge(self.settings, self.plan, self.figures(), self.run_facts)

    def unmet(self) -> list[str]:
        return [finding.name for finding in self.verdict().findings if not finding.met]

    def keep(self, mask: np.ndarray) -> None:
        self.records = {name: content[mask] for name, content in self.records.items()}


def server(**changed: Any) -> Series:
    """A Server series of about 1000 queries, VALID as it stands."""
    fields = {"target_qps": 1000, "min_duration_ms": 1000, "min_query_count": 500} | changed
    return Series(Settings(**({"scenario": "server"} | fields)))


def closed(scenario: str, count: int, **changed: Any) -> Series:
    """A closed loop on one worker: one query of 1 ms after another."""
    made = Series(
        Settings(
            **({"scenario": scenario, "min_duration_ms": 100, "expected_latency_ms": 0.1} | changed)
        )
    )
    per_query = made.plan.requests_per_query
    rows = np.arange(count * per_query)
    made.records = records_of(made.plan, rows, MS - 30_000, rows // per_query * MS)
    made.workers = [WorkerFacts(0, issued_count=len(rows), ended_by="minima")]
    return made
