"""What the service learns about a run beside its records: the judge needs these facts, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loadgen_service.core.facts.server_stats import ServerFacts
from loadgen_service.core.facts.worker_report import WorkerReport


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """One measurement by one worker of a peer's monotonic clock: a SUT's, or the service's (None).

    ``offset_ns``: the peer's clock less the worker's, true within ``error_ns``; ``at_ns``: when,
    on the worker's clock since the series' start (before it: negative).
    """

    worker_index: int
    sut_index: int | None
    at_ns: int
    offset_ns: int
    error_ns: int


@dataclass(frozen=True)
class WorkerFacts(WorkerReport):
    """One worker's part in one series, with what it reported of it.

    ``issued_count`` counts requests, in the order of its shard.
    ``lost`` means that it died or fell silent: rows of its shard that no record reached are lost.
    ``lost_reason`` without ``lost``: it left before its time, and said what it had issued.
    ``start_clock_ns``: the series' start on its own monotonic clock; ``clock_offset_ns``: the
    service's clock less its own, as measured before that start.
    """

    worker_index: int
    host: str = ""
    pid: int = 0
    lost: bool = False
    lost_reason: str = ""
    issued_count: int = 0
    last_issue_ns: int = -1
    ended_by: str = ""
    clock_offset_ns: int = 0
    clock_error_ns: int = 0
    start_clock_ns: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether it did not stay to the end, for whatever reason."""
        return self.lost or bool(self.lost_reason)


@dataclass(frozen=True, slots=True)
class SutFacts:
    """One system under test: where it is, and what it says it is."""

    sut_index: int
    address: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """Failed requests of one kind: gRPC ``code`` (255: broken connection), text and count."""

    code: int
    message: str
    count: int
    sut_index: int = 0


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Facts of one series. ``stop_ns``: end of the measured window of a concurrency run, since t0.

    ``start_unix_ns`` dates the report and is never used for an interval. ``clocks``: measured
    before, during and after the load. ``server``: what the SUTs counted; None: nobody asked.
    """

    series_index: int
    workers: Sequence[WorkerFacts] = ()
    errors: Sequence[ErrorFacts] = ()
    stop_ns: int | None = None
    start_unix_ns: int = 0
    interrupted: bool = False
    clocks: Sequence[ClockFacts] = ()
    server: ServerFacts | None = None


@dataclass(frozen=True, slots=True)
class OfficialFacts:
    """What the official LoadGen's own log files say of a run that it issued.

    ``valid``: its verdict; None in accuracy mode, and where it did not come to write one.
    ``query_count``: queries of the performance series, as it counted them. ``errors``: texts of its
    error lines, the first few; ``error_count`` counts all.
    """

    version: str = ""
    valid: bool | None = None
    reason: str = ""
    query_count: int | None = None
    error_count: int = 0
    errors: Sequence[str] = ()
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts of the whole run. ``searched``: of each run of a peak search, in order, whether it kept
    the latency limits. ``rated_series``: the one that speaks for the whole (the best that passed,
    else the base); None: every measured series does. ``interruption``: what cut the run short, if
    no person did."""

    run_id: str
    plan_hash: str
    workload_hash: str
    series: Sequence[SeriesFacts]
    suts: Sequence[SutFacts] = ()
    preprocess_ns: int | None = None
    dataset_name: str = ""
    dataset_hash: str = ""
    total_sample_count: int = 0
    performance_sample_count: int = 0
    notes: Sequence[str] = ()
    gaps: Sequence[str] = ()
    accuracy: dict[str, float] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    interruption: str = ""
    searched: Sequence[bool] = ()
    rated_series: int | None = None
    peak_qps: float | None = None
    official: OfficialFacts | None = None
