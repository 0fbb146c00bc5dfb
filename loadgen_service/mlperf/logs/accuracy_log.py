"""mlperf_log_accuracy.json: one response a line, bytes as upper-case hex (specification 5.4).

Accuracy scripts read it as JSON, one of them by its exact blanks; so these are LoadGen's. Entries
are streamed: memory does not grow with their number.

Which responses of a performance run go to the accuracy log (LoadGen, specification 1.11).

A pure function of settings and plan: the same samples on every worker and in the official LoadGen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.plan.effective_settings import SampleCounts, effective
from loadgen_service.core.plan.mt19937 import RandomWords
from loadgen_service.core.plan.series import SeriesPlan
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings

BoolArray = npt.NDArray[np.bool_]

VALUES_SEED: Final = 5489
"""Seed of the engine that gives every generated sample its value, whatever the settings."""
_BLOCK: Final = 1 << 20


def sampling_probability(settings: Settings, counts: SampleCounts) -> float:
    """Share of a performance run's responses that are logged; above 1 means all."""
    if settings.accuracy_log_sampling_target <= 0:
        return settings.accuracy_log_probability
    wanted = effective(settings, counts, "performance")
    expected = int(wanted.target_qps * settings.min_duration_ms / 1000)
    if SCENARIOS[settings.scenario].pulled:
        samples = max(expected, wanted.min_sample_count)
    else:
        samples = max(expected, wanted.min_query_count) * wanted.samples_per_query
    return settings.accuracy_log_sampling_target / samples


def logged_samples(settings: Settings, counts: SampleCounts, plan: SeriesPlan) -> BoolArray:
    """Of each of ``plan.samples``: whether its response is logged. Accuracy series log all."""
    if plan.spec.kind == "accuracy":
        return np.ones(len(plan.samples), dtype=np.bool_)
    probability = sampling_probability(settings, counts)
    logged = np.zeros(len(plan.samples), dtype=np.bool_)
    if plan.spec.kind == "warmup" or probability <= 0:
        return logged
    offset = float(RandomWords(settings.accuracy_log_rng_seed).canonical_many(1)[0])
    engine = RandomWords(VALUES_SEED)
    passed = plan.spec.first_sequence_id  # earlier series' samples have drawn their values
    for start in range(0, passed, _BLOCK):
        engine.canonical_many(min(_BLOCK, passed - start))
    for start in range(0, len(logged), _BLOCK):
        block = logged[start : start + _BLOCK]
        shifted = engine.canonical_many(len(block)) + offset
        block[:] = np.where(shifted >= 1.0, shifted - 1.0, shifted) <= probability
    return logged


def logged_requests(settings: Settings, counts: SampleCounts, plan: SeriesPlan) -> BoolArray:
    """Of each of the plan's requests: whether it carries a logged sample."""
    logged = logged_samples(settings, counts, plan)
    if plan.samples_per_request == 1:
        return logged
    query, part = np.divmod(np.arange(plan.request_count), plan.requests_per_query)
    starts = query * plan.samples_per_query + part * plan.samples_per_request
    found: BoolArray = np.logical_or.reduceat(logged, starts)
    return found


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
