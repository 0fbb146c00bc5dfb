"""Sequences: requests of stateful models that belong together and keep their order."""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel, Field

from loadgen_service.core.protocols import ProtocolRow, schemes_with

LARGEST_ID_START = 2**62


class SequenceSettings(BaseModel):
    """Which sequences are played, and how they are numbered at the SUT."""

    sequences: str = Field(
        "",
        description="concurrency: JSONL file, one sequence of a stateful model a line; "
        "--concurrency is then how many are live at a time",
    )
    sequence_id_start: int = Field(
        1,
        ge=1,
        le=LARGEST_ID_START,
        description="sequences: sequence_id of the first; each of a run has one of its own",
    )


class Played(Protocol):
    """What a run with sequences has to say of everything else."""

    @property
    def sequences(self) -> str: ...
    @property
    def sequence_id_start(self) -> int: ...
    @property
    def scenario(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def protocol(self) -> ProtocolRow: ...
    @property
    def routing(self) -> str: ...
    @property
    def resolve(self) -> str: ...
    @property
    def performance_issue_unique(self) -> bool: ...
    @property
    def performance_issue_same(self) -> bool: ...
    @property
    def sample_concatenate_permutation(self) -> bool: ...
    @property
    def performance_sample_count(self) -> int: ...


def sequence_trouble(settings: Played, waits_for_answers: bool) -> str:
    """What does not go with sequences, in one line; empty where all does.

    ``waits_for_answers``: the scenario issues after completions, over any number of workers.
    """
    if not settings.sequences:
        if settings.sequence_id_start != 1:
            return "sequence_id_start: needs --sequences"
        return ""
    if not waits_for_answers:
        return (
            f"sequences: the {settings.scenario} scenario does not hold a request back until the "
            "one before it in its sequence is answered; use --scenario concurrency"
        )
    if settings.mode != "performance":
        return f"sequences: are measured in performance mode, not in {settings.mode}"
    if not settings.protocol.sequences:
        return (
            f"sequences: KServe v2 has them, {settings.protocol.name} has not; use "
            f"{schemes_with('sequences')}"
        )
    if settings.routing == "least_outstanding":
        return (
            "routing: least_outstanding would spread a sequence over several SUTs; "
            "use round_robin or weights with --sequences"
        )
    if settings.resolve == "all":
        return (
            "resolve: all would spread a sequence over the servers behind a name; "
            "name each with --sut, which keeps a sequence at one"
        )
    return _sample_trouble(settings)


def _sample_trouble(settings: Played) -> str:
    for name in (
        "performance_issue_unique",
        "performance_issue_same",
        "sample_concatenate_permutation",
        "performance_sample_count",
    ):
        if getattr(settings, name):
            return f"{name}: with --sequences the file says which samples are sent; leave it out"
    return ""
