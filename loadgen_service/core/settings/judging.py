"""Judging: our own conditions, and what MLPerf's submissions ask for."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class JudgingSettings(BaseModel):
    """Limits and budgets of the verdict."""

    target_latency_ms: float = Field(
        0.0, ge=0, description="limit at the target percentile; 0: 100 for server, else none"
    )
    target_latency_percentile: float = Field(
        0.0, ge=0, lt=100, description="0: the scenario's own (90 single_stream, else 99)"
    )
    error_budget: float = Field(0.0, ge=0, le=1, description="share of samples that may fail")
    issue_delay_budget_ms: float = Field(
        0.0,
        ge=0,
        description="p99 of our own lateness; 0: 2 % of the tightest limit (target latency, "
        "TTFT), at least 1 ms",
    )


UINT64_MAX = 2**64 - 1


class MlperfSettings(BaseModel):
    """What MLPerf's own files and rules add. LoadGen's names, our units."""

    engine: Literal["native", "mlcommons"] = Field(
        "native",
        description="who paces the queries: our engine, or the official LoadGen (needs the extra "
        "mlperf) with our network path as its QDL",
    )
    user_conf: str = Field("", description="LoadGen's user.conf; read by the command line")
    lenient_user_conf: bool = Field(
        False, description="ignore names in user.conf that LoadGen does not know, as it does"
    )
    audit_config: str = Field(
        "", description="LoadGen's audit.config, read only when named; it wins over all else"
    )
    mlperf_model: str = Field("", description="benchmark whose built-in values hold, as resnet50")
    round: str = Field("", description="submission round of the seeds; empty: v6.1")
    mlperf_logs: bool = Field(
        False,
        description="write LoadGen's log files too; MLPerf runs (mlperf_model, user_conf, "
        "audit_config, or a mode other than performance) do so anyway",
    )
    mlperf_trace: bool = Field(
        False, description="write LoadGen's mlperf_log_trace.json too: some 300 bytes a sample"
    )
    strict_loadgen: bool = Field(
        False, description="write LoadGen's log files as it would, its known faults included"
    )
    accuracy_sample_count: int = Field(
        0, ge=0, description="samples of an accuracy series; 0: the whole data set"
    )
    accuracy_log_rng_seed: int = Field(
        0, ge=0, le=UINT64_MAX, description="which responses of a performance series are logged"
    )
    accuracy_log_probability: float = Field(
        0.0, ge=0, description="share of responses logged in a performance series"
    )
    accuracy_log_sampling_target: int = Field(
        0,
        ge=0,
        le=UINT64_MAX,
        description="how many of them, about, instead of a share; 0: the share",
    )
    test05: bool = Field(False, description="review TEST05: a performance run with other seeds")
    test05_qsl_rng_seed: int = Field(
        7975553102935885558, ge=0, le=UINT64_MAX, description="its seed of loaded sets"
    )
    test05_sample_index_rng_seed: int = Field(
        11403566307062068064, ge=0, le=UINT64_MAX, description="its seed of samples"
    )
    test05_schedule_rng_seed: int = Field(
        15816800565822761601, ge=0, le=UINT64_MAX, description="its seed of arrival times"
    )
    use_token_latencies: bool = Field(
        False, description="judge time to first token and time per token, not latency"
    )
    ttft_latency_ms: int = Field(100, ge=0, description="limit of the time to the first token")
    tpot_latency_ms: int = Field(100, ge=0, description="limit of the time per further token")
    infer_token_latencies: bool = Field(
        False, description="report tokens a second as samples times a fixed factor"
    )
    token_latency_scaling_factor: int = Field(0, ge=0, description="that factor; gptj's is 69")
    print_timestamps: bool = Field(False, description="said in LoadGen's logs; changes nothing")
    find_peak_decimals_of_precision: int = Field(
        1, ge=0, le=9, description="find_peak: decimals of queries a second to settle"
    )
    find_peak_boundary_step_size: float = Field(
        1.0, gt=0, description="find_peak: how much the rate grows until one fails; 1 doubles it"
    )
