"""Traffic: scenario, rates, counts, durations and seeds, under LoadGen's names."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from loadgen_service.core.scenarios import ScenarioName

ArrivalName = Literal["poisson", "constant", "gamma", "ramp", "steps", "trace"]
ModeName = Literal["performance", "accuracy", "submission", "find_peak"]

UINT64_MAX = 2**64 - 1


class TrafficSettings(BaseModel):
    """What is issued, and when."""

    scenario: ScenarioName = Field("server", description="how queries arrive")
    mode: ModeName = Field(
        "performance",
        description="measure speed, check every answer, both, or search the highest rate",
    )
    target_qps: float = Field(1.0, gt=0, description="server: queries a second; offline: samples")
    expected_latency_ms: float = Field(
        1.0, gt=0, description="single and multi stream: expected latency of a query"
    )
    samples_per_query: int = Field(8, ge=1, description="multi_stream: samples in one query")
    samples_per_request: int = Field(
        1, ge=1, description="offline, multi_stream: samples in one request (more is batching)"
    )
    min_duration_ms: int = Field(10_000, ge=0, description="shortest run")
    max_duration_ms: int = Field(0, ge=0, description="stop issuing after this; 0 is never")
    min_query_count: int = Field(100, ge=1, description="fewest queries (offline: samples)")
    max_query_count: int = Field(0, ge=0, description="stop after so many queries; 0 is never")
    max_async_queries: int = Field(
        0, ge=0, description="server: stop when more are outstanding; 0 is no limit"
    )
    coalesce_queries: bool = Field(False, description="server: merge overdue queries")
    performance_issue_unique: bool = Field(False, description="each loaded sample once")
    performance_issue_same: bool = Field(False, description="always the same loaded sample")
    performance_issue_same_index: int = Field(0, ge=0, description="its place in loaded order")
    sample_concatenate_permutation: bool = Field(
        False, description="use every sample equally often (equal issue)"
    )
    qsl_rng_seed: int = Field(2085463073848966840, ge=0, le=UINT64_MAX, description="loaded sets")
    sample_index_rng_seed: int = Field(
        2747215439041700203, ge=0, le=UINT64_MAX, description="samples of queries"
    )
    schedule_rng_seed: int = Field(
        16159082839903944936, ge=0, le=UINT64_MAX, description="arrival times"
    )
    arrivals: ArrivalName = Field("poisson", description="server: the arrival process")
    burstiness: float = Field(
        1.0, gt=0, description="gamma arrivals: shape; 1 is poisson, less comes in clumps"
    )
    ramp_to_qps: float = Field(0.0, ge=0, description="ramp arrivals: rate at min_duration_ms")
    steps: str = Field("", description="steps arrivals: QPS:MS,QPS:MS,...")
    trace_file: str = Field("", description="trace arrivals: file with one time in ms a line")
    burst_query_count: int = Field(10, ge=1, description="burst: queries at one instant")
    burst_period_ms: float = Field(1000.0, gt=0, description="burst: from one burst to the next")
    concurrency: int = Field(1, ge=1, description="concurrency: queries outstanding")
    warmup_duration_ms: int = Field(
        0, ge=0, description="a warm-up series before; its figures are kept apart"
    )
