"""Server side: what the SUTs say of themselves while they are measured."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ServerSideSettings(BaseModel):
    """Server's own figures: KServe statistics before and after each series."""

    server_statistics: Literal["auto", "on", "off"] = Field(
        "auto",
        description="ask KServe v2 SUTs for ModelStatistics around each series; on: a SUT without "
        "them is noted",
    )
