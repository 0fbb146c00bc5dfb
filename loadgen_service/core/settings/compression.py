"""Compression: whether requests are sent, and answers asked for, by gzip."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


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
