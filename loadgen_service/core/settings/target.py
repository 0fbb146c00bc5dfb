"""Target: the systems under test, the way to them, and what travels on it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from loadgen_service.core.protocols import ADDRESS_FORMS, ProtocolRow, schemes_with


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


class EndpointSettings(BaseModel):
    """Token streams, prompts, and servers over HTTP."""

    streaming: Literal["auto", "on", "off"] = Field(
        "auto",
        description="ask for answers in pieces; auto: openai, and models that a server says are "
        "decoupled",
    )
    record_tokens: bool = Field(
        False, description="write tokens.parquet: the arrival of every piece of every answer"
    )
    openai_api: Literal["chat", "completions"] = Field(
        "chat", description="openai: which of its two requests"
    )
    api_key: str = Field(
        "", description="openai: env:VARIABLE or file:PATH that holds the key, sent as a bearer's"
    )
    request_parameters: str = Field(
        "", description="openai: JSON object merged into every request; null takes a field out"
    )
    prompt_tokens: str = Field(
        "constant:128",
        description="openai, made prompts: words in each; constant:N, uniform:LOW:HIGH or "
        "lognormal:MEDIAN:SIGMA",
    )
    output_tokens: str = Field(
        "",
        description="openai: max_tokens of each request, in the same forms; empty: what the data "
        "says, made prompts 128",
    )
    tokenizer: str = Field(
        "", description="openai: tokenizer.json that counts where a server tells no usage"
    )
    max_connections: int = Field(
        0,
        ge=0,
        le=65_535,
        description="openai, http: connections to each SUT, a worker; 0: as many as calls are open",
    )
    http_tensors: Literal["binary", "json"] = Field(
        "binary",
        description="http: tensors of requests as KServe's binary extension or, for servers "
        "without it (MLServer), as numbers in JSON",
    )


def http_tensors_trouble(settings: EndpointSettings, protocol: ProtocolRow, sequences: str) -> str:
    """What does not go with tensors in JSON, in one line; empty where all does."""
    if settings.http_tensors == "binary":
        return ""
    if not protocol.json_tensors:
        return (
            f"http_tensors: json is for {schemes_with('json_tensors')}, not for {protocol.name}; "
            "leave it out"
        )
    if sequences:
        return "http_tensors: sequences are sent as binary tensors only; leave it out"
    return ""


class CompressionSettings(BaseModel):
    """Requests and answers by gzip."""

    request_compression: Literal["none", "gzip"] = Field(
        "none",
        description="gzip: requests are compressed before the run and sent so; the SUT must "
        "take them",
    )
    accept_compression: Literal["none", "gzip"] = Field(
        "none",
        description="gzip: tell the SUT that answers may be compressed; without it one that is "
        "counts as failed",
    )


def compression_trouble(
    settings: CompressionSettings, shared_memory: str, sequences: str, adapter: str
) -> str:
    """What does not go with compression, in one line; empty where all does."""
    if settings.request_compression == "none":
        return ""
    if shared_memory != "none":
        return (
            "request_compression: with --shared-memory system the tensors are not in the requests, "
            "and there is nothing to compress; leave one of them out"
        )
    if sequences and adapter != "grpc_aio":
        return (
            "request_compression: with --sequences a request's place is written into it when it is "
            "issued, after requests are compressed; leave one of them out, or use "
            "--adapter grpc_aio, which compresses what it sends"
        )
    return ""


class MemorySettings(BaseModel):
    """KServe's system shared memory extension."""

    shared_memory: Literal["none", "system"] = Field(
        "none",
        description="system: a SUT on the workers' host reads the samples from shared memory "
        "that it is told of before the run; requests carry only where they lie",
    )
    output_shared_memory_bytes: int = Field(
        0,
        ge=0,
        description="shared memory: bytes kept for each output of each request, into which the "
        "SUT writes its answer; 0: answers carry their tensors",
    )
    output_shared_memory_slots: int = Field(
        256,
        ge=1,
        le=65_536,
        description="shared memory: requests of a worker that may have such places at a time; "
        "more wait for one",
    )


def memory_trouble(
    settings: MemorySettings, protocol: ProtocolRow, samples_per_request: int, streamed: bool
) -> str:
    """What does not go with shared memory, in one line; empty where all does."""
    places = bool(settings.output_shared_memory_bytes)
    if settings.shared_memory == "none":
        if places:
            return "output_shared_memory_bytes: needs --shared-memory system"
        return ""
    if not protocol.shared_memory:
        return (
            f"shared_memory: is offered over {schemes_with('shared_memory')}, not over "
            f"{protocol.name}; leave it out"
        )
    if samples_per_request > 1:
        return (
            "samples_per_request: samples lie apart in shared memory, so a request carries one; "
            "use 1 with --shared-memory system"
        )
    if places and streamed:
        return (
            "output_shared_memory_bytes: the pieces of a streamed answer would overwrite one "
            "another; leave it out with --streaming on"
        )
    return ""
