"""Memory: tensors that a SUT on the same host finds in shared memory instead of the message."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from loadgen_service.core.protocols import ProtocolRow, schemes_with


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
