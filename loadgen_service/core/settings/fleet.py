"""Fleet: where the run is planned, issued and collected, and who may ask for it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class FleetSettings(BaseModel):
    """Workers, their pacing, and the folder of the results."""

    workers: int = Field(1, ge=1, le=1024, description="worker processes that issue the run")
    wait_policy: Literal["timerfd", "poll"] = Field(
        "timerfd", description="how a worker waits for an instant; poll costs it a core"
    )
    out: str = Field("", description="run directory; empty: results/<time>-<scenario>")
    heartbeat_lost_ms: int = Field(
        10_000, ge=1_000, description="a worker silent for so long is lost"
    )
    lease_timeout_ms: int = Field(30_000, ge=1, description="how long to wait for workers")
