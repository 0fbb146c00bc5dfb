"""The parts of summary.json: distributions, breakdowns, one series. Shapes only, no judgement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from loadgen_service.core.facts.run import (
    ClockFacts,
    ErrorFacts,
    SeriesFacts,
    SutFacts,
    WorkerFacts,
)
from loadgen_service.core.facts.server_stats import ServerStatistics, server_statistics
from loadgen_service.core.facts.worker_report import WorkerReport, report_fields
from loadgen_service.core.figures.figure import Figure
from loadgen_service.core.figures.loadgen import LoadgenFigures
from loadgen_service.core.figures.series import (
    BurstFigures,
    PartFigures,
    SequenceFigures,
    SeriesFigures,
)
from loadgen_service.core.figures.streams import StreamFigures
from loadgen_service.core.figures.times import Times
from loadgen_service.core.figures.tokens import TokenFigures
from loadgen_service.core.records.query_rows import Counts
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.verdict.findings.finding import Finding


class Part(BaseModel):
    """A piece of the summary: frozen; fields that a later writer added are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CountsByLevel(Part):
    """How the planned ended, at three levels: a query carries samples and travels in requests."""

    queries: Counts
    samples: Counts
    requests: Counts


class Metric(Part):
    """The one number that a scenario is about; ``value`` null where it is infinite or unknown."""

    name: str
    value: float | None
    unit: str


TIMES: Final = "times"
"""Group of the distributions of a series, of one SUT or of one worker."""


def _time(label: str, about: str, indent: int = 0) -> Figure:
    return Figure(label, "ns", about, better="less", group=TIMES, indent=indent)


Measured = Distribution | None


class MeasuredTimes(Part):
    """Distributions over requests (ns); null where nothing was measured."""

    first_response_ns: Annotated[
        Measured, _time("first response", "first response - scheduled")
    ] = None
    issue_delay_ns: Annotated[Measured, _time("issue delay", "issued - scheduled")] = None
    late_ns: Annotated[
        Measured, _time("generator late", "released - scheduled: the generator's", indent=1)
    ] = None
    blocked_ns: Annotated[
        Measured, _time("blocked", "issued - released: the transport's", indent=1)
    ] = None
    service_ns: Annotated[Measured, _time("service time", "completed - issued, of completed")] = (
        None
    )
    server_queue_ns: Annotated[Measured, _time("server queue", "waiting in the SUT", indent=1)] = (
        None
    )
    server_compute_ns: Annotated[
        Measured, _time("server compute", "computing in the SUT", indent=1)
    ] = None
    server_total_ns: Measured = Field(None, description="sent - received in the SUT")
    network_ns: Annotated[
        Measured, _time("network, rest", "service_ns less server_total_ns", indent=1)
    ] = None
    to_sut_ns: Annotated[
        Measured,
        _time(
            "to the SUT",
            "issued to received by the SUT, over two clocks: +- hop_error_ns",
            indent=2,
        ),
    ] = None
    from_sut_ns: Annotated[
        Measured,
        _time(
            "back from it",
            "sent by the SUT to completed, over two clocks: +- hop_error_ns",
            indent=2,
        ),
    ] = None
    hop_error_ns: int | None = Field(None, description="error bar of both, the widest there was")


def times_fields(times: Times | None) -> dict[str, Any]:
    """The fields of ``MeasuredTimes``; all null without ``times``."""
    return {name: getattr(times, name, None) for name in MeasuredTimes.model_fields}


class SutSummary(MeasuredTimes):
    """One system under test in one series; times and latency are of requests."""

    sut_index: int
    address: str
    name: str
    platform: str
    requests: Counts | None
    samples: Counts | None
    completed_samples_per_second: float | None
    latency_ns: Distribution | None
    server_statistics: ServerStatistics | None = Field(
        None, description="what the SUT itself counted in this series; null: nobody asked"
    )

    @classmethod
    def of(
        cls, facts: SutFacts, part: PartFigures | None, series: SeriesFacts | None = None
    ) -> Self:
        """Join what the SUT says it is, what was measured of it, and what it counted itself."""
        service = part.times.service_ns if part else None
        return cls(
            sut_index=facts.sut_index,
            address=facts.address,
            name=facts.name,
            platform=facts.platform,
            requests=part.requests if part else None,
            samples=part.samples if part else None,
            completed_samples_per_second=part.completed_samples_per_second if part else None,
            latency_ns=part.latency_ns if part else None,
            server_statistics=server_statistics(
                series.server if series else None,
                facts.sut_index,
                part.requests.completed if part else None,
                service.mean if service else None,
            ),
            **times_fields(part.times if part else None),
        )


class WorkerSummary(MeasuredTimes, WorkerReport):  # type: ignore[misc]  # a model is frozen too
    """One worker in one series, with its report; times and latency are of its requests."""

    worker_index: int
    host: str
    pid: int
    lost: bool
    lost_reason: str
    ended_by: str
    clock_offset_ns: int
    clock_error_ns: int
    start_clock_ns: int = Field(0, description="the start on the worker's monotonic clock")
    clocks: list[ClockFacts] = Field(
        default_factory=list, description="every measurement of the service's and the SUTs' clocks"
    )
    requests: Counts | None
    samples: Counts | None
    completed_samples_per_second: float | None
    latency_ns: Distribution | None

    @classmethod
    def of(
        cls, facts: WorkerFacts, part: PartFigures | None, clocks: Sequence[ClockFacts] = ()
    ) -> Self:
        """Join what the worker reported with what its records show. ``clocks``: all workers'."""
        return cls(
            worker_index=facts.worker_index,
            host=facts.host,
            pid=facts.pid,
            lost=facts.lost,
            lost_reason=facts.lost_reason,
            ended_by=facts.ended_by,
            clock_offset_ns=facts.clock_offset_ns,
            clock_error_ns=facts.clock_error_ns,
            start_clock_ns=facts.start_clock_ns,
            clocks=[one for one in clocks if one.worker_index == facts.worker_index],
            **report_fields(facts.to_message()),
            requests=part.requests if part else None,
            samples=part.samples if part else None,
            completed_samples_per_second=part.completed_samples_per_second if part else None,
            latency_ns=part.latency_ns if part else None,
            **times_fields(part.times if part else None),
        )


class ErrorSummary(Part):
    """Failed requests of one kind; code 255 is a broken connection, the others are gRPC's."""

    code: int
    message: str
    count: int
    sut_index: int

    @classmethod
    def of(cls, error: ErrorFacts) -> Self:
        """The same, as part of the summary."""
        return cls(
            code=error.code, message=error.message, count=error.count, sut_index=error.sut_index
        )


class SeriesSummary(MeasuredTimes):
    """One series of the run: warm-up, performance, or one accuracy set."""

    series_index: int
    kind: str
    name: str
    valid: bool | None
    invalid_reason: str
    loadgen_valid: bool | None
    loadgen_note: str
    findings: list[Finding]
    counts: CountsByLevel
    metric: Metric | None
    elapsed_ns: int | None
    completed_qps: float | None
    completed_samples_per_second: float | None
    latency_unit: str
    latency_ns: Distribution | None
    loadgen: LoadgenFigures
    bursts: BurstFigures | None
    streams: StreamFigures | None = None
    tokens: TokenFigures | None = None
    sequences: SequenceFigures | None = None
    outside_window_count: int
    errors: list[ErrorSummary]
    suts: list[SutSummary]
    workers: list[WorkerSummary]


def counts_of(figures: SeriesFigures) -> CountsByLevel:
    """The three levels of one series."""
    return CountsByLevel(
        queries=figures.queries, samples=figures.samples, requests=figures.requests
    )
