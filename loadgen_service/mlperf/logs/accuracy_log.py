"""mlperf_log_accuracy.json: one response a line, bytes as upper-case hex (specification 5.4).

Accuracy scripts read it as JSON, one of them by its exact blanks; so these are LoadGen's. Entries
are streamed: memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from loadgen_service.core.plan.series import SeriesPlan


@dataclass(frozen=True, slots=True)
class AccuracyEntry:
    """One logged sample. ``seq_id`` counts the run's samples from 0, over all its series.

    ``token_data``: bytes of the first token; ``token_count``: of the answer; None where token
    latencies are not measured (offline logs no first token).
    """

    seq_id: int
    sample_index: int
    data: bytes
    token_data: bytes | None = None
    token_count: int | None = None


def accuracy_lines(entries: Iterable[AccuracyEntry]) -> Iterator[str]:
    """Lines of the file, without their newlines; without entries ``[`` and ``]``."""
    yield "["
    held: str | None = None
    for entry in entries:
        if held is not None:
            yield f"{held},"
        held = _line(entry)
    if held is not None:
        yield held
    yield "]"


def entries_of_request(
    plan: SeriesPlan, row: int, data: Sequence[bytes]
) -> Iterator[AccuracyEntry]:
    """Entries of one answered request: ``data`` holds one answer a sample, in request order."""
    start, stop = plan.request_span(row)
    for position, content in zip(range(start, stop), data, strict=True):
        yield AccuracyEntry(
            plan.spec.first_sequence_id + position, int(plan.samples[position]), content
        )


def _line(entry: AccuracyEntry) -> str:
    tokens = ""
    if entry.token_data is not None:
        tokens += f', "token_data" : "{entry.token_data.hex().upper()}"'
    if entry.token_count is not None:
        tokens += f', "token_count" : {entry.token_count}'
    return (
        f'{{ "seq_id" : {entry.seq_id}, "qsl_idx" : {entry.sample_index}, '
        f'"data" : "{entry.data.hex().upper()}"{tokens} }}'
    )
