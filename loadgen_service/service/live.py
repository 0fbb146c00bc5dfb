"""Live figures of one series: counts and histograms, fed with batches as they become durable.

Approximate and about requests; the final figures are exact and made elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.columns import NEVER, REQUEST_COLUMNS, Status
from loadgen_service.core.histogram import Histogram
from loadgen_service.core.plan import SeriesPlan
from loadgen_service.core.scenarios import SCENARIOS

Columns = dict[str, npt.NDArray[np.generic]]

NS_PER_S = 1e9


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

    def add(
        self,
        status: npt.NDArray[np.generic],
        latency_ns: npt.NDArray[np.int64],
        service_ns: npt.NDArray[np.int64],
    ) -> None:
        """Count rows; the times count where the status is COMPLETED."""
        answered = status == Status.COMPLETED
        completed = int(np.count_nonzero(answered))
        self.completed += completed
        if completed == len(status):
            self.latency_ns.record_many(latency_ns)
            self.service_ns.record_many(service_ns)
            return
        self.failed += int(np.count_nonzero(status == Status.FAILED))
        self.timed_out += int(np.count_nonzero(status == Status.TIMED_OUT))
        self.latency_ns.record_many(latency_ns[answered])
        self.service_ns.record_many(service_ns[answered])

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


class LiveSeries:
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

    def add(self, columns: Columns, worker_index: int = 0) -> None:
        """Take in the rows of one batch of a worker."""
        status, suts = columns["status"], columns["sut_index"]
        scheduled = columns["scheduled_ns"].astype(np.int64, copy=False)
        completed = columns["completed_ns"].astype(np.int64, copy=False)
        issued = columns["issued_ns"].astype(np.int64, copy=False)
        latency, service = completed - scheduled, completed - issued
        self.last_completed_ns = max(self.last_completed_ns, int(completed.max(initial=0)))
        # Each value finds its bucket once; merging costs the same whatever the batch's size.
        delays = Histogram()
        left = issued != NEVER
        delays.record_many((issued - scheduled)[left] if not left.all() else issued - scheduled)
        self.issue_delay_ns.merge(delays)
        self.by_worker.setdefault(worker_index, Issuing()).issue_delay_ns.merge(delays)
        if len(suts) and suts.min() == suts.max():
            self._add_sut(int(suts[0]), status, latency, service)
            return
        for sut in np.unique(suts).tolist():
            mine = suts == sut
            self._add_sut(sut, status[mine], latency[mine], service[mine])

    def _add_sut(
        self,
        sut: int,
        status: npt.NDArray[np.generic],
        latency: npt.NDArray[np.int64],
        service: npt.NDArray[np.int64],
    ) -> None:
        tally = Tally()
        tally.add(status, latency, service)
        self.all.merge(tally)
        self.by_sut.setdefault(sut, Tally()).merge(tally)

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
        latency, delay = self.all.latency_ns, self.issue_delay_ns
        seconds = self.last_completed_ns / NS_PER_S
        return pb.LiveFigures(
            completed_qps=self.all.completed / seconds if seconds else 0.0,
            latency_ns_p50=latency.value_at_quantile(0.5),
            latency_ns_p90=latency.value_at_quantile(0.9),
            latency_ns_p99=latency.value_at_quantile(0.99),
            latency_ns_max=latency.max,
            issue_delay_ns_p50=delay.value_at_quantile(0.5),
            issue_delay_ns_p99=delay.value_at_quantile(0.99),
            outstanding=max(0, issued - self.all.settled),
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


def rows_of(batch: pb.RecordBatch) -> Columns:
    """The columns of a batch as arrays, without copying. Unknown columns are left out.

    Raises ValueError where a column is missing or its length is not the batch's count.
    """
    given = {column.name: column.content for column in batch.columns}
    if not batch.count:
        return {}
    columns: Columns = {}
    for name, dtype in REQUEST_COLUMNS.items():
        if name not in given:
            raise ValueError(f"column {name} is missing")
        columns[name] = _column(name, given[name], dtype, batch.count)
    return columns


def _column(
    name: str, content: bytes, dtype: np.dtype[np.generic], count: int
) -> npt.NDArray[np.generic]:
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"column {name} has {len(content)} bytes for {count} rows")
    return np.frombuffer(content, dtype)
