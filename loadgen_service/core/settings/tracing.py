"""Tracing: which share of the queries becomes OpenTelemetry traces, and where they are sent."""

from __future__ import annotations

from pydantic import BaseModel, Field


class TracingSettings(BaseModel):
    """Traces of sampled queries."""

    trace_sample_rate: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of queries that carry a W3C trace context and become traces; 0: none",
    )
    otlp_endpoint: str = Field(
        "",
        description="http://HOST:4318, https, grpc://HOST:4317 or grpcs: where the spans of traced "
        "queries are sent after the load (needs the extra otel)",
    )
