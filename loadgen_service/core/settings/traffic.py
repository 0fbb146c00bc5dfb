"""Traffic: how queries arrive, what they carry, and sequences of them."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import BaseModel, Field

from loadgen_service.core.protocols import ProtocolRow, schemes_with
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
    target_qps: float = Field(
        1.0, ge=1e-6, description="server: queries a second; offline: samples"
    )
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
    max_query_count: int = Field(0, ge=0, description="at most this many queries; 0: no limit")
    max_async_queries: int = Field(
        0, ge=0, description="server: stop when more are outstanding; 0 is no limit"
    )
    coalesce_queries: bool = Field(False, description="server: merge overdue queries")
    performance_issue_unique: bool = Field(False, description="each loaded sample once")
    performance_issue_same: bool = Field(False, description="always the same loaded sample")
    performance_issue_same_index: int = Field(0, ge=0, description="its position in loaded order")
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


class DataSettings(BaseModel):
    """Where samples come from and which of them are loaded."""

    task: str = Field(
        "",
        description="task file, or imagenet-sample, digits: data, limits and accuracy target of "
        "one comparable job",
    )
    dataset: str = Field(
        "random",
        description="imagenet-sample, digits, random, zeros, or a path: folder of images, .npz, "
        "perf_analyzer's --input-data .json",
    )
    labels: str = Field("", description="label file of an image folder: NAME LABEL a line")
    preprocess: str = Field(
        "", description="image folders: efficientnet-lite0 or raw; default by the model's name"
    )
    shape: list[str] = Field(
        default_factory=list,
        description="INPUT:DATATYPE:DIM,DIM for a server whose metadata lacks tensors",
    )
    performance_sample_count: int = Field(
        0, ge=0, description="samples loaded for a performance run; 0: what the data set says"
    )
    total_sample_count: int = Field(
        0, ge=0, description="random, zeros, plan: size of the data set; 0: what it says"
    )
    data_seed: int = Field(0, ge=0, description="random data: seed of its content")
    log_responses: bool = Field(False, description="keep every response, as accuracy mode does")
    accuracy_target: float = Field(
        0.0, ge=0, le=1, description="accuracy mode: top-1 below this is INVALID; 0: not judged"
    )


LARGEST_ID_START = 2**62


class SequenceSettings(BaseModel):
    """Which sequences are played, and how they are numbered at the SUT."""

    sequences: str = Field(
        "",
        description="concurrency: JSONL file, one sequence of a stateful model a line; "
        "--concurrency is then how many are live at a time",
    )
    sequence_id_start: int = Field(
        1,
        ge=1,
        le=LARGEST_ID_START,
        description="sequences: sequence_id of the first; each of a run has one of its own",
    )


class Played(Protocol):
    """What a run with sequences has to say of everything else."""

    @property
    def sequences(self) -> str: ...
    @property
    def sequence_id_start(self) -> int: ...
    @property
    def scenario(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def protocol(self) -> ProtocolRow: ...
    @property
    def routing(self) -> str: ...
    @property
    def resolve(self) -> str: ...
    @property
    def performance_issue_unique(self) -> bool: ...
    @property
    def performance_issue_same(self) -> bool: ...
    @property
    def sample_concatenate_permutation(self) -> bool: ...
    @property
    def performance_sample_count(self) -> int: ...


def sequence_trouble(settings: Played, waits_for_answers: bool) -> str:
    """What does not go with sequences, in one line; empty where all does.

    ``waits_for_answers``: the scenario issues after completions, over any number of workers.
    """
    if not settings.sequences:
        if settings.sequence_id_start != 1:
            return "sequence_id_start: needs --sequences"
        return ""
    if not waits_for_answers:
        return (
            f"sequences: the {settings.scenario} scenario does not hold a request back until the "
            "one before it in its sequence is answered; use --scenario concurrency"
        )
    if settings.mode != "performance":
        return f"sequences: are measured in performance mode, not in {settings.mode}"
    if not settings.protocol.sequences:
        return (
            f"sequences: KServe v2 has them, {settings.protocol.name} has not; use "
            f"{schemes_with('sequences')}"
        )
    if settings.routing == "least_outstanding":
        return (
            "routing: least_outstanding would spread a sequence over several SUTs; "
            "use round_robin or weights with --sequences"
        )
    if settings.resolve == "all":
        return (
            "resolve: all would spread a sequence over the servers behind a name; "
            "name each with --sut, which keeps a sequence at one"
        )
    return _sample_trouble(settings)


def _sample_trouble(settings: Played) -> str:
    for name in (
        "performance_issue_unique",
        "performance_issue_same",
        "sample_concatenate_permutation",
        "performance_sample_count",
    ):
        if getattr(settings, name):
            return f"{name}: with --sequences the file says which samples are sent; leave it out"
    return ""
