"""Live figures of one series: counts and histograms, fed with batches as they become durable.

Approximate and about requests; the final figures are exact and made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import (
    NEVER,
    REQUEST_COLUMNS,
    Columns,
    SentColumn,
    Status,
    received_columns,
)
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.stats.histogram import Bucketed, Histogram, bucketed
from loadgen_service.core.units import NS_PER_S


class Ended(NamedTuple):
    """Rows of a batch by how they ended; the times of the completed ones by bucket."""

    completed: int
    failed: int
    timed_out: int
    latency_ns: Bucketed
    service_ns: Bucketed


class BatchFigures(NamedTuple):
    """What the rows of one batch add to the live figures: small, whatever their number."""

    last_completed_ns: int
    issue_delay_ns: Bucketed
    by_sut: list[tuple[int, Ended]]
    ttft_ns: Bucketed | None = None
    token_count: int = 0


@dataclass(slots=True)
class Tally:
    """Requests by how they ended; latency and service time of the completed ones."""

    completed: int = 0
    failed: int = 0
    timed_out: int = 0
    latency_ns: Histogram = field(default_factory=Histogram)
    service_ns: Histogram = field(default_factory=Histogram)

    @property
    def settled(self) -> int:
        """Requests whose end is known."""
        return self.completed + self.failed + self.timed_out

    def take(self, ended: Ended) -> None:
        """Count the rows of a batch."""
        self.completed += ended.completed
        self.failed += ended.failed
        self.timed_out += ended.timed_out
        self.latency_ns.take(ended.latency_ns)
        self.service_ns.take(ended.service_ns)

    def merge(self, other: Tally) -> None:
        """Add the counts of ``other``."""
        self.completed += other.completed
        self.failed += other.failed
        self.timed_out += other.timed_out
        self.latency_ns.merge(other.latency_ns)
        self.service_ns.merge(other.service_ns)


@dataclass(slots=True)
class Issuing:
    """What one worker issued, by its own word, and how late, by its records."""

    issued: int = 0
    issue_delay_ns: Histogram = field(default_factory=Histogram)

    def merge(self, other: Issuing) -> None:
        """Add the counts of ``other``."""
        self.issued += other.issued
        self.issue_delay_ns.merge(other.issue_delay_ns)


class LiveStats:
    """What is known so far of the series that runs."""

    def __init__(self, planned: int = 0, kind: str = "performance") -> None:
        self.planned = planned
        self.kind = kind
        self.scheduled = 0
        self.all = Tally()
        self.by_sut: dict[int, Tally] = {}
        self.by_worker: dict[int, Issuing] = {}
        self.issue_delay_ns = Histogram()
        self.last_completed_ns = 0
        self.ttft_ns = Histogram()
        self.token_count = 0
        self._due_ns: npt.NDArray[np.int64] | None = None
        self._requests_per_query = 1

    @classmethod
    def of_plan(cls, plan: SeriesPlan) -> Self:
        """Nothing is known yet of a series with this plan."""
        made = cls(0 if plan.unbounded else plan.request_count, plan.spec.kind)
        if not SCENARIOS[plan.scenario].closed:
            made._due_ns = plan.scheduled_ns
            made._requests_per_query = plan.requests_per_query
        return made

    @property
    def issued(self) -> int:
        """Requests that the workers said they issued, or that are known to have ended."""
        return max(self.all.settled, sum(one.issued for one in self.by_worker.values()))

    def hear_issued(self, worker_index: int, issued: int) -> None:
        """A worker's word on how much it issued; an older word changes nothing."""
        one = self.by_worker.setdefault(worker_index, Issuing())
        one.issued = max(one.issued, issued)

    def pass_instant(self, elapsed_ns: int) -> None:
        """Count what the plan made due by now; a closed loop's requests are due when issued."""
        due = self.issued
        if self._due_ns is not None:
            queries = int(np.searchsorted(self._due_ns, elapsed_ns, side="right"))
            due = queries * self._requests_per_query
        self.scheduled = max(self.scheduled, due)

    def take(self, figures: BatchFigures, worker_index: int = 0) -> None:
        """Count one batch of a worker."""
        self.last_completed_ns = max(self.last_completed_ns, figures.last_completed_ns)
        self.issue_delay_ns.take(figures.issue_delay_ns)
        self.by_worker.setdefault(worker_index, Issuing()).issue_delay_ns.take(
            figures.issue_delay_ns
        )
        if figures.ttft_ns is not None:
            self.ttft_ns.take(figures.ttft_ns)
            self.token_count += figures.token_count
        for sut, ended in figures.by_sut:
            self.all.take(ended)
            self.by_sut.setdefault(sut, Tally()).take(ended)

    def counts(self, issued: int) -> pb.Counts:
        """Counts of requests; ``issued`` is what the workers say."""
        tally = self.all
        return pb.Counts(
            planned=self.planned,
            issued=max(issued, tally.settled),
            not_issued=max(0, self.planned - max(issued, tally.settled)),
            completed=tally.completed,
            failed=tally.failed,
            timed_out=tally.timed_out,
        )

    def figures(self, issued: int) -> pb.LiveFigures:
        """Rates and percentiles so far."""
        latency = self.all.latency_ns
        p50, p90, p99 = latency.values_at_quantiles((0.5, 0.9, 0.99))
        delay_p50, delay_p99 = self.issue_delay_ns.values_at_quantiles((0.5, 0.99))
        ttft_p50, ttft_p99 = self.ttft_ns.values_at_quantiles((0.5, 0.99))
        seconds = self.last_completed_ns / NS_PER_S
        return pb.LiveFigures(
            completed_qps=self.all.completed / seconds if seconds else 0.0,
            latency_ns_p50=p50,
            latency_ns_p90=p90,
            latency_ns_p99=p99,
            latency_ns_max=latency.max,
            issue_delay_ns_p50=delay_p50,
            issue_delay_ns_p99=delay_p99,
            outstanding=max(0, issued - self.all.settled),
            ttft_ns_p50=ttft_p50,
            ttft_ns_p99=ttft_p99,
            tokens_per_second=self.token_count / seconds if seconds else 0.0,
        )

    def sut_status(self, sut_index: int, address: str) -> pb.SutStatus:
        """Counts and p99 of one SUT."""
        tally = self.by_sut.get(sut_index, Tally())
        return pb.SutStatus(
            sut_index=sut_index,
            address=address,
            queries=pb.Counts(
                issued=tally.settled,
                completed=tally.completed,
                failed=tally.failed,
                timed_out=tally.timed_out,
            ),
            latency_ns_p99=tally.latency_ns.value_at_quantile(0.99),
        )


def figures_of(columns: Columns) -> BatchFigures:
    """The figures of at least one row. Each value finds its bucket here, once."""
    status, suts = columns["status"], columns["sut_index"]
    scheduled = columns["scheduled_ns"].astype(np.int64, copy=False)
    completed = columns["completed_ns"].astype(np.int64, copy=False)
    issued = columns["issued_ns"].astype(np.int64, copy=False)
    latency, service = completed - scheduled, completed - issued
    delays = issued - scheduled
    if issued.min() <= NEVER:
        delays = delays[issued != NEVER]
    if suts.min() == suts.max():
        parts: list[tuple[int, Any]] = [(int(suts[0]), slice(None))]
    else:
        parts = [(sut, suts == sut) for sut in np.unique(suts).tolist()]
    by_sut = [(sut, _ended(status[rows], latency[rows], service[rows])) for sut, rows in parts]
    last_ns = max(0, int(completed.max()))
    return BatchFigures(last_ns, bucketed(delays), by_sut, *_tokens(columns))


def _tokens(columns: Columns) -> tuple[Bucketed | None, int]:
    """Times to the first token, and tokens, of completed answers that have any."""
    told = columns.get("token_count")
    if told is None or not told.any():
        return None, 0
    counts = told.astype(np.int64, copy=False)
    some = (counts > 0) & (columns["status"] == Status.COMPLETED)
    first = columns["first_response_ns"].astype(np.int64, copy=False)
    begun = some & (first != NEVER)
    due = columns["scheduled_ns"].astype(np.int64, copy=False)
    return bucketed(first[begun] - due[begun]), int(counts[some].sum())


def _ended(
    status: npt.NDArray[np.generic],
    latency_ns: npt.NDArray[np.int64],
    service_ns: npt.NDArray[np.int64],
) -> Ended:
    answered = status == Status.COMPLETED
    completed = int(np.count_nonzero(answered))
    if completed == len(status):
        return Ended(completed, 0, 0, bucketed(latency_ns), bucketed(service_ns))
    return Ended(
        completed,
        int(np.count_nonzero(status == Status.FAILED)),
        int(np.count_nonzero(status == Status.TIMED_OUT)),
        bucketed(latency_ns[answered]),
        bucketed(service_ns[answered]),
    )


def sent_of(batch: pb.RecordBatch) -> list[SentColumn]:
    """Its columns as they came. Each access to a message's bytes copies them."""
    return [SentColumn(one.name, one.content, one.same_as, one.width) for one in batch.columns]


def rows_of(batch: pb.RecordBatch, sent: Iterable[SentColumn]) -> Columns:
    """The columns of a batch as arrays over ``sent_of`` it. Unknown columns are left out.

    Raises ValueError where a column is missing or does not fit the batch's count.
    """
    if not batch.count:
        return {}
    columns = received_columns(sent, batch.count)
    for name in REQUEST_COLUMNS:
        if name not in columns:
            raise ValueError(f"column {name} is missing")
    return columns
