"""What a worker says of itself: of a series in its last word, of the last second in a heartbeat.

A new figure is a field here and the code that measures it. The message to the service, the
summary, text, HTML, the live page, Prometheus and comparisons iterate over the fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, Self

from pydantic import Field

from loadgen_service.core.figures.figure import Figure, figures_of

WORKER: Final = "worker"
"""Group of a worker's own figures, beside the times of its requests."""

LIVE: Final = Field(exclude=True)
"""Told by heartbeats alone, and left out of summary.json."""


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """None: its system does not tell, or it was not asked."""

    cpu_share: Annotated[
        float | None,
        Figure(
            "cores",
            "cores",
            "processor time by wall time",
            group=WORKER,
            metric="loadgen_worker_cpu_cores",
        ),
        LIVE,
    ] = None
    rss_bytes: Annotated[
        int | None,
        Figure(
            "memory",
            "bytes",
            "resident memory",
            group=WORKER,
            metric="loadgen_worker_resident_memory_bytes",
        ),
        LIVE,
    ] = None
    loop_lag_ns: Annotated[
        int | None,
        Figure(
            "loop lag",
            "ns",
            "worst lag of its event loop in the last second",
            better="less",
            group=WORKER,
            metric="loadgen_worker_loop_lag_seconds",
        ),
        LIVE,
    ] = None
    unacknowledged_batches: Annotated[
        int | None,
        Figure(
            "batches waiting",
            "count",
            "record batches that wait for the collector",
            better="less",
            group=WORKER,
            metric="loadgen_worker_unacknowledged_batches",
        ),
        LIVE,
    ] = None
    late_start_ns: Annotated[
        int,
        Figure("late start", "ns", "how late it met the common start", better="less", group=WORKER),
    ] = 0
    blocked_by_streams: Annotated[
        int,
        Figure(
            "blocked by streams",
            "count",
            "requests that waited for a free stream",
            better="less",
            group=WORKER,
        ),
    ] = 0
    resent_count: Annotated[
        int,
        Figure(
            "sent again",
            "count",
            "requests sent again, which the SUT had certainly not processed",
            better="less",
            group=WORKER,
        ),
    ] = 0
    peak_outstanding: Annotated[
        int,
        Figure("peak outstanding", "count", "most requests with the SUTs at once", group=WORKER),
    ] = 0
    stolen_share: Annotated[
        float | None,
        Figure(
            "CPU steal",
            "share",
            "share of its processors' time that the hypervisor gave to others",
            better="less",
            group=WORKER,
            metric="loadgen_worker_cpu_stolen_ratio",
            told_from=0.01,  # the ninety-ninth percentile may be the hypervisor's
            words="the hypervisor took {:.1%} of its processors' time",
        ),
    ] = None
    waited_share: Annotated[
        float | None,
        Figure(
            "run-queue wait",
            "share",
            "share of the time that it was able to run and did not",
            better="less",
            group=WORKER,
            metric="loadgen_worker_cpu_waited_ratio",
            told_from=0.05,  # mostly a few microseconds each, behind other processes
            words="it waited {:.1%} of the time for a processor",
        ),
    ] = None

    def to_message(self) -> dict[str, float]:
        """The figures that are told, as ``loadgen.WorkerReport`` carries them."""
        values = {one.name: getattr(self, one.name) for one in fields(WorkerReport)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def of_message(cls, figures: Mapping[str, float]) -> Self:
        """What came; figures of a newer worker are passed over."""
        return cls(**report_fields(figures))


def report_fields(figures: Mapping[str, float]) -> dict[str, Any]:
    """The known ones of ``figures`` that are finite; ns, bytes and counts as whole numbers."""
    whole = {"ns", "bytes", "count"}
    units = {name: figure.unit for name, figure in figures_of(WorkerReport).items()}
    return {
        name: int(value) if units[name] in whole else value
        for name, value in figures.items()
        if name in units and math.isfinite(value)
    }
