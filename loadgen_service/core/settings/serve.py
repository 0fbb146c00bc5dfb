"""Settings of ``loadgen serve``: where it listens, who may speak to it, what it may be aimed at."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ServeSettings(BaseModel):
    """Everything the operator of a service may set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7440, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    http_port: int | None = Field(
        None, ge=0, le=65535, description="port of the live page and of /metrics; 0 picks a free "
        "one; not given: neither",
    )  # fmt: skip
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="a port with /metrics alone; 0 picks a free one",
    )  # fmt: skip
    results: str = Field("results", description="folder that holds the run directories")
    token_file: str = Field(
        "",
        description="file with the token that users and workers must send, or with lines NAME "
        "RIGHTS TOKEN [until=TIME], RIGHTS of run, read, work; read again when it changes; "
        "or LOADGEN_TOKEN",
    )
    tls_cert: str = Field("", description="PEM file of the service's certificate")
    tls_key: str = Field("", description="PEM file of its key")
    tls_client_ca: str = Field("", description="PEM file: clients must show a certificate of it")
    insecure: bool = Field(
        False, description="listen beyond loopback without TLS or token, on your own head"
    )
    allow_sut: list[str] = Field(
        default_factory=list,
        description="HOST:PORT patterns (* and ?) that runs may be aimed at; empty: any",
    )
    allow_path: list[str] = Field(
        default_factory=list,
        description="path patterns on this host that runs may name (data sets, traces, "
        "certificates, header files); empty: none, only built-in data sets",
    )
    allow_env: list[str] = Field(
        default_factory=lambda: ["LOADGEN_HEADER_*"],
        description="environment variables that a --header of a run may name",
    )
    allow_otlp: list[str] = Field(
        default_factory=list,
        description="HOST:PORT patterns that runs may send their traces to; empty: none",
    )
    max_queued_runs: int = Field(32, ge=1, description="runs that may wait for their turn")

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert, tls_key: give both or neither")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca: needs tls_cert and tls_key too")
        return self
