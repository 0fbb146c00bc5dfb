"""Observing: the fleet that measures, the spans that it sends, what SUTs count."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field, field_validator

from loadgen_service.core.settings.authority import metrics_place


class FleetSettings(BaseModel):
    """Workers, their pacing, and the folder of the results."""

    workers: int = Field(1, ge=1, le=1024, description="worker processes that issue the run")
    wait_policy: Literal["timerfd", "poll"] = Field(
        "timerfd", description="how a worker waits for an instant; poll costs it a core"
    )
    out: str = Field("", description="run directory; empty: results/<time>-<scenario>")
    heartbeat_lost_ms: int = Field(
        10_000, ge=1_000, description="a worker that is silent this long is lost"
    )
    lease_timeout_ms: int = Field(30_000, ge=1, description="how long to wait for workers")


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


METRICS_TARGETS_MAX: Final = 64
"""Each has a connection of its own at every tick."""


class ServerSideSettings(BaseModel):
    """Server's own figures: KServe statistics around each series, Prometheus metrics during it."""

    server_statistics: Literal["auto", "on", "off"] = Field(
        "auto",
        description="ask KServe v2 SUTs for ModelStatistics around each series; on: a SUT without "
        "them is noted",
    )
    sut_metrics: list[str] = Field(
        default_factory=list,
        description="http://HOST:PORT/metrics of SUTs and their hosts, read by the service through "
        "the run; comma between several",
    )
    sut_metrics_interval_ms: int = Field(
        1000,
        ge=100,
        description="from one reading of sut_metrics to the next; its deadline too, up to 5 s",
    )

    @field_validator("sut_metrics")
    @classmethod
    def _are_addresses(cls, urls: list[str]) -> list[str]:
        for url in urls:
            metrics_place(url)
        if len(set(urls)) < len(urls):
            raise ValueError("the same address stands there twice; name each once")
        if len(urls) > METRICS_TARGETS_MAX:
            raise ValueError(f"{len(urls)} addresses; at most {METRICS_TARGETS_MAX} are read")
        return urls
