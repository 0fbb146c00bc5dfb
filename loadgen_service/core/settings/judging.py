"""Judging: what a run must meet to be VALID."""

from __future__ import annotations

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
