"""What the SUTs counted themselves, in words and rows: the same for report.txt and report.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen_service.core.facts.server_stats import PARTS, ServerModel, ServerStatistics
from loadgen_service.core.summary.parts import SutSummary
from loadgen_service.report.formatting import say_count, say_ns

STATISTICS_WORDS: Final = (
    "What the server itself counted between a reading before the load and one after it, as means "
    "over its requests. Seen by clients: from the send to the answer. Of that the server says: "
    "waiting for its turn (queue), bringing the inputs to the model (input), the model (infer), "
    "taking the outputs from it (output); other is its time that it does not explain. Outside is "
    "the rest: the network, the server's own gRPC or HTTP front, and the client."
)
HEAD: Final = (
    "answered", "failed", "seen by clients", "queue", "input", "infer", "output", "other",
    "outside", "samples a batch",
)  # fmt: skip


def statistics_rows(suts: Sequence[SutSummary]) -> list[list[str]]:
    """A row a model version of each SUT that tells statistics: its name, then as in ``HEAD``."""
    return [
        [f"{sut.sut_index} {_name(model)}", *_cells(told, model)]
        for sut in suts
        if (told := sut.server_statistics)
        for model in told.models
    ]


def statistics_remarks(suts: Sequence[SutSummary]) -> list[str]:
    """One line for each thing that the rows do not show: batch sizes, strangers, what is amiss."""
    lines = []
    for sut in suts:
        told = sut.server_statistics
        if told is None:
            continue
        for model in told.models:
            lines += [f"sut {sut.sut_index} {line}" for line in _of_model(model)]
        if told.missing and told.models:
            lines.append(f"sut {sut.sut_index}: {told.missing}")
        if told.surplus_count:
            lines.append(f"sut {sut.sut_index}: {_strangers(told.surplus_count)}")
    return lines


def statistics_lacking(suts: Sequence[SutSummary]) -> list[str]:
    """Why SUTs tell no statistics of their own, a line each."""
    return [
        f"sut {sut.sut_index}: no statistics of its own: {told.missing}"
        for sut in suts
        if (told := sut.server_statistics) and told.missing and not told.models
    ]


def _name(model: ServerModel) -> str:
    version = f" {model.version}" if model.version else ""
    return f"{'part ' if model.composing else ''}{model.model}{version}"


def _cells(told: ServerStatistics, model: ServerModel) -> list[str]:
    if model.went_back:
        return ["-"] * len(HEAD)
    whole = None if model.composing else told
    return [
        say_count(model.times["success"].count),
        say_count(model.times["fail"].count),
        _say(whole.client_service_ns if whole else None),
        *(_say(model.times[name].mean_ns) for name in PARTS),
        _say(model.other_ns),
        _say(whole.outside_ns if whole else None),
        f"{model.mean_batch_size:.3g}" if model.mean_batch_size else "-",
    ]


def _say(mean_ns: float | None) -> str:
    return "-" if mean_ns is None else say_ns(round(mean_ns))


def _of_model(model: ServerModel) -> list[str]:
    if model.went_back:
        return [
            f"{_name(model)}: its counters went backwards: the server was restarted during the "
            "series, so its statistics say nothing"
        ]
    if not model.batches:
        return []
    sizes = ", ".join(
        f"{say_count(batch.execution_count)} of {batch.size} ({_say(batch.mean_compute_ns)})"
        for batch in model.batches
    )
    return [f"{_name(model)}: batches {sizes}"]


def _strangers(surplus: int) -> str:
    if surplus > 0:
        return (
            f"the server answered {say_count(surplus)} requests more than this run completed in "
            "its window: other clients, or answers that came too late; the means include them"
        )
    return (
        f"the server counted {say_count(-surplus)} answers fewer than this run completed: it "
        "counts something else than requests, or had not counted the last ones yet"
    )
