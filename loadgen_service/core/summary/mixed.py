"""mixed.json: all streams of a mixed run, each with its summary, and what holds for all of them.

Joins; judges nothing but whether every stream is VALID. Read by machines (docs/how-to/mixed.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from loadgen_service.core.run_state import RunState
from loadgen_service.core.summary.parts import Part, WorkerSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.summary.versioned_json import read_document
from loadgen_service.core.units import NS_PER_S

MIXED_FILE: Final = "mixed.json"
MIXED_VERSION: Final[Literal[1]] = 1

SHORT_OVERLAP: Final = 0.9
"""Where the streams run together for less of the longest than this, a note says so."""


class StreamSummary(Part):
    """One stream: ``directory`` below the mixed run's is a run directory like any other's."""

    stream_index: int
    name: str
    run_id: str
    directory: str
    state: str
    worker_count: int
    exit_code: int = Field(description="0 VALID, 1 INVALID, 2 the user's mistake, 3 unfinished")
    error: str = Field(description="why it has no verdict, one line; else empty")
    summary: Summary | None


class CommonStart(Part):
    """How well one start was met. Late: by a worker's own clock, past the instant it was told."""

    worker_count: int
    late_ns_min: int
    late_ns_max: int
    skew_ns: int = Field(description="from the first worker's start to the last one's")
    clock_error_ns: int = Field(description="of the offset by which a worker began, the widest")


class MixedSummary(Part):
    """One mixed run. ``valid``: true only if every stream's is, false if one's is, else null."""

    format: Literal["loadgen-mixed"] = "loadgen-mixed"
    version: Literal[1] = 1
    run_id: str
    state: str
    started_at: str
    valid: bool | None
    invalid_reason: str
    start: CommonStart | None
    together_ns: int | None = Field(
        description="from the start until the first stream was over; null where one is unknown"
    )
    notes: list[str]
    streams: list[StreamSummary]


def build_mixed(
    run_id: str, streams: Sequence[StreamSummary], notes: Sequence[str]
) -> MixedSummary:
    """Join the streams, in their order."""
    summaries = [one.summary for one in streams if one.summary]
    lengths = [summary.elapsed_ns for summary in summaries]
    known = [length for length in lengths if length is not None]
    together = min(known) if len(known) == len(streams) else None
    return MixedSummary(
        run_id=run_id,
        state=_state(streams),
        started_at=min((one.started_at for one in summaries if one.started_at), default=""),
        valid=_valid(streams),
        invalid_reason="; ".join(f"{one.name}: {why}" for one in streams if (why := _why(one))),
        start=_common_start(summaries),
        together_ns=together,
        notes=[*notes, *_overlap_notes(streams, together)],
        streams=list(streams),
    )


def mixed_to_json(mixed: MixedSummary) -> str:
    """The text of mixed.json, ending in a newline."""
    return mixed.model_dump_json(indent=2) + "\n"


def mixed_from_json(text: str | bytes) -> MixedSummary:
    """Read mixed.json. Raises UserError if it is not one, or of another version."""
    return read_document(MixedSummary, MIXED_FILE, MIXED_VERSION, text)


def _state(streams: Sequence[StreamSummary]) -> str:
    """The worst of theirs: a run whose one stream failed could not finish."""
    states = {one.state for one in streams}
    for state in (RunState.FAILED, RunState.INTERRUPTED):
        if state.name in states:
            return state.name
    return RunState.DONE.name


def _valid(streams: Sequence[StreamSummary]) -> bool | None:
    verdicts = [one.summary.valid if one.summary else None for one in streams]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _why(stream: StreamSummary) -> str:
    if stream.error:
        return stream.error
    return stream.summary.invalid_reason if stream.summary else "it has no results"


def _common_start(summaries: Sequence[Summary]) -> CommonStart | None:
    """From what the workers of the first measured series said; those lost do not count."""
    workers = [one for summary in summaries for one in _first_workers(summary) if _told(one)]
    if not workers:
        return None
    late = [worker.late_start_ns for worker in workers]
    return CommonStart(
        worker_count=len(workers),
        late_ns_min=min(late),
        late_ns_max=max(late),
        skew_ns=max(late) - min(late),
        clock_error_ns=max(worker.clock_error_ns for worker in workers),
    )


def _first_workers(summary: Summary) -> Sequence[WorkerSummary]:
    measured = [series for series in summary.series if series.kind != "warmup"]
    return measured[0].workers if measured else ()


def _told(worker: WorkerSummary) -> bool:
    """A lost worker's last word, which tells how late it began, never came."""
    return not worker.lost


def _overlap_notes(streams: Sequence[StreamSummary], together_ns: int | None) -> list[str]:
    lengths = {s.name: s.summary.elapsed_ns or 0 for s in streams if s.summary}
    if together_ns is None or not lengths:
        return []
    longest = max(lengths, key=lambda name: lengths[name])
    if together_ns >= SHORT_OVERLAP * lengths[longest]:
        return []
    first = min(lengths, key=lambda name: lengths[name])
    return [
        f"stream {first} was over after {together_ns / NS_PER_S:.1f} s, stream {longest} after "
        f"{lengths[longest] / NS_PER_S:.1f} s: the rest of {longest}'s figures is not of mixed "
        "traffic; give the streams equal durations"
    ]
