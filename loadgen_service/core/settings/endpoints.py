"""Endpoints: streamed answers, and servers that speak OpenAI's protocol or KServe v2 over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from loadgen_service.core.protocols import ProtocolRow, schemes_with


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
