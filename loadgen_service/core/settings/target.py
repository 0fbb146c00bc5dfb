"""Target: the systems under test and the way to them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from loadgen_service.core.protocols import ADDRESS_FORMS


class TargetSettings(BaseModel):
    """Which SUTs, over which connections, with which credentials."""

    sut: list[str] = Field(
        default_factory=list,
        description=f"{ADDRESS_FORMS}; comma between several",
    )
    model: str = Field("", description="name of the model at the SUT")
    model_version: str = Field("", description="its version; empty: the server's choice")
    routing: Literal["round_robin", "weights", "least_outstanding"] = Field(
        "round_robin",
        description="how queries are spread over several SUTs: in turn, by a seeded draw that "
        "follows sut_weights, or each to the SUT with the fewest requests out when it is issued",
    )
    sut_weights: list[float] = Field(
        default_factory=list, description="weights, one a SUT; asks for --routing weights"
    )
    adapter: Literal["wire", "grpc_aio"] = Field(
        "wire", description="our own wire path, or grpc.aio as its oracle"
    )
    connections: int = Field(1, ge=1, le=1024, description="connections to each SUT, a worker")
    resolve: Literal["first", "all"] = Field(
        "first", description="all: connect to every address of a name"
    )
    header: list[str] = Field(
        default_factory=list,
        description="NAME=VALUE, NAME=env:VARIABLE or NAME=file:PATH sent with every request",
    )
    tls_ca: str = Field("", description="grpcs: PEM file of the authority; empty: the system's")
    tls_cert: str = Field("", description="grpcs: PEM file of our client certificate")
    tls_key: str = Field("", description="grpcs: PEM file of its key")
    tls_server_name: str = Field("", description="grpcs: name expected in the certificate")
    offline_window: int = Field(
        64, ge=1, description="offline: outstanding requests a SUT, over all workers"
    )
    timeout_ms: int = Field(
        0,
        ge=0,
        description="deadline of a query from its issue; 0: 10 s (openai: 60 s) or "
        "twice the target latency, whichever is more",
    )
    connect_timeout_ms: int = Field(5_000, ge=1, description="deadline of connecting to a SUT")
