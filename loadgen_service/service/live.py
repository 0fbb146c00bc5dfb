"""Live figures of one series: counts and histograms, fed with batches as they become durable.

Approximate and about requests; the final figures are exact and made elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.columns import NEVER, REQUEST_COLUMNS, Status
from loadgen_service.core.histogram import Histogram

Columns = dict[str, npt.NDArray[np.generic]]

NS_PER_S = 1e9


@dataclass(slots=True)
class Tally:
    """Requests by how they ended, and the latency of the completed ones."""

    completed: int = 0
    failed: int = 0
    timed_out: int = 0
    latency_ns: Histogram = field(default_factory=Histogram)

    @property
    def settled(self) -> int:
        """Requests whose end is known."""
        return self.completed + self.failed + self.timed_out

    def add(self, status: npt.NDArray[np.generic], latency_ns: npt.NDArray[np.int64]) -> None:
        """Count rows; ``latency_ns`` counts where the status is COMPLETED."""
        answered = status == Status.COMPLETED
        self.completed += int(np.count_nonzero(answered))
        self.failed += int(np.count_nonzero(status == Status.FAILED))
        self.timed_out += int(np.count_nonzero(status == Status.TIMED_OUT))
        self.latency_ns.record_many(latency_ns[answered])


class LiveSeries:
    """What is known so far of the series that runs."""

    def __init__(self, planned: int = 0) -> None:
        self.planned = planned
        self.all = Tally()
        self.by_sut: dict[int, Tally] = {}
        self.issue_delay_ns = Histogram()
        self.last_completed_ns = 0

    def add(self, columns: Columns) -> None:
        """Take in the rows of one batch."""
        status, suts = columns["status"], columns["sut_index"]
        scheduled = columns["scheduled_ns"].astype(np.int64, copy=False)
        completed = columns["completed_ns"].astype(np.int64, copy=False)
        issued = columns["issued_ns"].astype(np.int64, copy=False)
        latency = completed - scheduled
        self.all.add(status, latency)
        self.issue_delay_ns.record_many((issued - scheduled)[issued != NEVER])
        self.last_completed_ns = max(self.last_completed_ns, int(completed.max(initial=0)))
        for sut in np.unique(suts).tolist():
            mine = suts == sut
            self.by_sut.setdefault(sut, Tally()).add(status[mine], latency[mine])

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
