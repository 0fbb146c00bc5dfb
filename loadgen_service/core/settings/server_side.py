"""Server side: what the SUTs say of themselves while they are measured."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field, field_validator

from loadgen_service.core.settings.metrics_url import metrics_place

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
