"""What a SUT counted of its own work in one series, and how it fits what the clients measured.

KServe v2's ModelStatistics are sums since the server's start; the difference of a reading before
the load and one after it is the series'. Pure: who read them, and how, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

PARTS: Final = ("queue", "compute_input", "compute_infer", "compute_output")
"""What the protocol cuts a good request's time in the server into."""

TIMES: Final = ("success", "fail", *PARTS, "cache_hit", "cache_miss")
"""The durations of KServe's InferStatistics, by their names there."""


@dataclass(frozen=True, slots=True)
class ModelReading:
    """The sums of one model version at one instant.

    ``times``: by name of ``TIMES``, how many and their sum in ns; ``batches``: size, executions and
    their summed compute_infer in ns. ``composing``: a part of the ensemble that is measured.
    """

    sut_index: int
    model: str
    version: str
    composing: bool
    inference_count: int
    execution_count: int
    times: Mapping[str, Sequence[int]]
    batches: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Both readings of a series; ``missing``: by SUT, why it has none."""

    before: Sequence[ModelReading] = ()
    after: Sequence[ModelReading] = ()
    missing: Sequence[tuple[int, str]] = ()

    @classmethod
    def from_journal(cls, kept: dict[str, Any]) -> Self:
        """From its fields as JSON keeps them. Raises TypeError for others."""
        return cls(
            before=readings_from_journal(kept["before"]),
            after=readings_from_journal(kept["after"]),
            missing=tuple((int(sut), str(why)) for sut, why in kept["missing"]),
        )


def readings_from_journal(kept: Sequence[dict[str, Any]]) -> tuple[ModelReading, ...]:
    """Readings from their fields as JSON keeps them. Raises TypeError for others."""
    return tuple(ModelReading(**one) for one in kept)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ServerTime(_Part):
    """So many stretches of one kind, in all so long; ``mean_ns`` null where there was none."""

    count: int
    total_ns: int
    mean_ns: float | None

    @classmethod
    def of(cls, count: int, total_ns: int) -> Self:
        """The same, with its mean."""
        return cls(count=count, total_ns=total_ns, mean_ns=total_ns / count if count else None)


class ServerBatch(_Part):
    """Executions of one batch size; ``mean_compute_ns``: of one execution."""

    size: int
    execution_count: int
    mean_compute_ns: float | None


class ServerModel(_Part):
    """One model version's own count of the series; all null where its counters went backwards."""

    model: str
    version: str
    composing: bool = Field(description="a part of the ensemble that was measured")
    went_back: bool = Field(
        description="a counter was lower after the load than before: the server was restarted"
    )
    sample_count: int | None = None
    execution_count: int | None = Field(default=None, description="batches that ran")
    mean_batch_size: float | None = None
    times: dict[str, ServerTime] = Field(
        default_factory=dict,
        description="success, fail, queue, compute_input, compute_infer, compute_output, "
        "cache_hit, cache_miss: per request",
    )
    other_ns: float | None = Field(
        default=None,
        description="mean of success less its parts: what the server does not account for",
    )
    batches: list[ServerBatch] = Field(default_factory=list)


class ServerStatistics(_Part):
    """One SUT's own figures of one series beside its clients'. ``missing``: why there are none.

    ``outside_ns`` is the mean service time that clients saw less the mean that the server counted:
    the network, the server's front end and the client's own code.
    """

    models: list[ServerModel] = Field(default_factory=list)
    missing: str = ""
    client_service_ns: float | None = Field(default=None, description="mean, completed - issued")
    server_ns: float | None = Field(
        default=None, description="mean of success, as the server counted"
    )
    outside_ns: float | None = None
    surplus_count: int | None = Field(
        default=None,
        description="requests that the server answered well less those that this run completed: "
        "other clients, or answers that came too late",
    )


def server_statistics(
    facts: ServerFacts | None, sut_index: int, completed: int | None, client_ns: float | None
) -> ServerStatistics | None:
    """One SUT's figures; None where nobody asked.

    ``completed``: its requests that ended well; ``client_ns``: their mean service time.
    """
    if facts is None:
        return None
    missing = dict(facts.missing).get(sut_index, "")
    before = {_key(one): one for one in facts.before if one.sut_index == sut_index}
    after = [one for one in facts.after if one.sut_index == sut_index]
    gone = before.keys() - {_key(one) for one in after}
    models = [
        _difference(before.get(_key(one)), one)
        for one in after
        if _key(one) in before or one.execution_count or one.inference_count
    ]
    if gone and not missing:
        missing = f"gone after the load: {', '.join(' '.join(key) for key in sorted(gone))}"
    return _joined(models, missing, completed, client_ns)


def _joined(
    models: list[ServerModel], missing: str, completed: int | None, client_ns: float | None
) -> ServerStatistics:
    whole = [one for one in models if not one.composing]
    if not whole or any(one.went_back for one in whole):
        return ServerStatistics(models=models, missing=missing, client_service_ns=client_ns)
    count = sum(one.times["success"].count for one in whole)
    total_ns = sum(one.times["success"].total_ns for one in whole)
    surplus = None if completed is None else count - completed
    server_ns = total_ns / count if count else None
    # A server that counts fewer than we had answers counts something else.
    comparable = client_ns is not None and server_ns is not None and (surplus or 0) >= 0
    return ServerStatistics(
        models=models,
        missing=missing,
        client_service_ns=client_ns,
        server_ns=server_ns,
        outside_ns=(client_ns or 0.0) - (server_ns or 0.0) if comparable else None,
        surplus_count=surplus,
    )


def _key(one: ModelReading) -> tuple[str, str]:
    return one.model, one.version


def _difference(before: ModelReading | None, after: ModelReading) -> ServerModel:
    """``before`` None: a version that was loaded meanwhile, counted from nothing."""
    named = ServerModel(
        model=after.model, version=after.version, composing=after.composing, went_back=True
    )
    samples = after.inference_count - (before.inference_count if before else 0)
    executions = after.execution_count - (before.execution_count if before else 0)
    times = {name: _less(after.times, before.times if before else {}, name) for name in TIMES}
    batches = _batches(before, after)
    changes = [samples, executions]
    for count, total_ns in [*times.values(), *batches.values()]:
        changes += [count, total_ns]
    if min(changes) < 0:
        return named
    said = {name: ServerTime.of(*both) for name, both in times.items()}
    return named.model_copy(
        update={
            "went_back": False,
            "sample_count": samples,
            "execution_count": executions,
            "mean_batch_size": samples / executions if executions else None,
            "times": said,
            "other_ns": _other_ns(said),
            "batches": [
                ServerBatch(size=size, execution_count=n, mean_compute_ns=total_ns / n)
                for size, (n, total_ns) in sorted(batches.items())
                if n
            ],
        }
    )


def _other_ns(times: dict[str, ServerTime]) -> float | None:
    count = times["success"].count
    if not count:
        return None
    return (times["success"].total_ns - sum(times[name].total_ns for name in PARTS)) / count


def _less(
    after: Mapping[str, Sequence[int]], before: Mapping[str, Sequence[int]], name: str
) -> tuple[int, int]:
    count, total_ns = after.get(name, (0, 0))
    less_count, less_ns = before.get(name, (0, 0))
    return count - less_count, total_ns - less_ns


def _batches(before: ModelReading | None, after: ModelReading) -> dict[int, tuple[int, int]]:
    earlier = {size: (n, ns) for size, n, ns in (before.batches if before else ())}
    found = {size: (-n, -ns) for size, (n, ns) in earlier.items()}
    for size, n, ns in after.batches:
        less_n, less_ns = earlier.get(size, (0, 0))
        found[size] = (n - less_n, ns - less_ns)
    return found
