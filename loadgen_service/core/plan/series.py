"""Series, their plans' columns, and which worker takes which rows.

Decides what rows mean and how they are shared out; how the columns are filled is the plan's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from loadgen_service.core.plan.effective_settings import (
    Effective,
    SampleCounts,
    SeriesKind,
    accuracy_sample_count,
    effective,
    performance_sample_count,
)
from loadgen_service.core.plan.mt19937 import Int64Array
from loadgen_service.core.plan.sample_sets import loaded_sets, pad_for_neighbours
from loadgen_service.core.plan.sequences import SequencePlay
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings

_Value = TypeVar("_Value", bound=np.generic)
Int32Array = npt.NDArray[np.int32]
Int16Array = npt.NDArray[np.int16]

UNBOUNDED_ROWS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class SeriesSpec:
    """One series of a run. ``loaded``: sample indexes in loaded order, padded as LoadGen loads
    them (multi_stream repeats the first few); ``loaded_end``: its length without the padding.
    ``first_sequence_id``: LoadGen numbers samples through a run's measured series; a warm-up has
    numbers of its own. ``target_qps``: rate of one run of a peak search; None: the settings'.
    """

    index: int
    kind: SeriesKind
    name: str
    loaded: Int64Array
    loaded_end: int
    first_sequence_id: int = 0
    target_qps: float | None = None


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """All queries of one series, in columns.

    ``samples`` (int32) and ``loaded_position`` (int32) hold query_count * samples_per_query values,
    query by query, with ``samples == spec.loaded[loaded_position]``. ``scheduled_ns`` (int64) and
    ``sut_index`` (int16) hold one value a query; sut_index is empty where the issuer chooses
    (offline, and --routing least_outstanding). An ``unbounded`` plan (concurrency) goes on for
    ever: query q is query q mod query_count. A plan cut by max_query_count has
    ``generated_query_count > query_count``. ``sequences``: which rows are one sequence, where they
    are played.
    """

    spec: SeriesSpec
    scenario: str
    effective: Effective
    query_count: int
    samples_per_query: int
    samples_per_request: int
    requests_per_query: int
    request_count: int
    samples: Int32Array
    loaded_position: Int32Array
    scheduled_ns: Int64Array
    sut_index: Int16Array
    generated_query_count: int
    generated_duration_ns: int
    unbounded: bool
    sequences: SequencePlay | None = None

    def request_span(self, row: int) -> tuple[int, int]:
        """Slice of ``samples`` that request ``row`` carries: part r of query q is row
        q * requests_per_query + r."""
        if self.unbounded:
            row %= self.request_count
        query, part = divmod(row, self.requests_per_query)
        first = query * self.samples_per_query
        start = first + part * self.samples_per_request
        return start, min(start + self.samples_per_request, first + self.samples_per_query)

    def query_of(self, row: int) -> int:
        """Query of request ``row``; in an unbounded plan it goes on counting."""
        return row // self.requests_per_query

    def sut_of(self, row: int) -> int:
        """SUT of request ``row``; -1 where the issuer chooses."""
        if not len(self.sut_index):
            return -1
        return int(self.sut_index[row // self.requests_per_query % self.query_count])


def series_specs(settings: Settings, counts: SampleCounts) -> list[SeriesSpec]:
    """The series of a run: warm-up if any, then all accuracy sets, then the performance series.

    Which of the two depends on the mode; a submission run has both.
    """
    wanted = effective(settings, counts, "performance")  # also refuses bad counts
    row = SCENARIOS[settings.scenario]
    neighbours = wanted.samples_per_query if row.one_worker and row.splits_queries else 1
    named: list[tuple[SeriesKind, str, Int64Array]] = []
    if settings.warmup_duration_ms:
        named.append(("warmup", "warmup", _sets(settings, counts, settings.series_kinds[0])[0]))
    for kind in settings.series_kinds:
        named += _named(kind, _sets(settings, counts, kind))
    specs: list[SeriesSpec] = []
    next_sequence_id = 0
    for index, (series_kind, name, loaded) in enumerate(named):
        padded = frozen(pad_for_neighbours(loaded, neighbours))
        first = 0 if series_kind == "warmup" else next_sequence_id
        specs.append(SeriesSpec(index, series_kind, name, padded, len(loaded), first))
        if series_kind == "accuracy":
            next_sequence_id += _accuracy_sample_ids(settings, specs[-1], wanted)
    return specs


def peak_series(base: SeriesSpec, index: int, target_qps: float) -> SeriesSpec:
    """Series ``index`` of a peak search: ``base``'s samples at another rate.

    ``base`` is the last of ``series_specs``: the run that establishes the base rate.
    """
    name = f"{base.name}-{index - base.index}"
    return replace(base, index=index, name=name, target_qps=target_qps)


def _sets(settings: Settings, counts: SampleCounts, kind: SeriesKind) -> list[Int64Array]:
    if counts.sequences is not None:
        return [counts.sequences.used_samples]
    per_set = performance_sample_count(settings, counts)
    if kind == "accuracy":
        whole = accuracy_sample_count(settings, counts)
        return loaded_sets(settings.seeds.qsl, whole, counts.total, per_set)
    return loaded_sets(settings.seeds.qsl, per_set, counts.total, per_set)[:1]


def _named(kind: SeriesKind, sets: list[Int64Array]) -> list[tuple[SeriesKind, str, Int64Array]]:
    return [
        (kind, f"{kind}-{number}" if len(sets) > 1 else kind, loaded)
        for number, loaded in enumerate(sets)
    ]


def _accuracy_sample_ids(settings: Settings, spec: SeriesSpec, wanted: Effective) -> int:
    """Sequence ids that an accuracy set takes: one for each sample that its queries carry."""
    if SCENARIOS[settings.scenario].pulled:
        return spec.loaded_end
    per_query = wanted.samples_per_query
    return max(1, len(spec.loaded) // per_query) * per_query


def shard_rows(
    plan: SeriesPlan, worker_index: int, worker_count: int, settings: Settings
) -> range | Int64Array:
    """Request rows of one worker, ascending; over all workers each row occurs once.

    Strided; in the burst scenario strided within each burst. Unbounded plans give an endless range.
    """
    if plan.unbounded:
        return range(worker_index, UNBOUNDED_ROWS, worker_count)
    if SCENARIOS[plan.scenario].due != "bursts" or worker_count == 1:
        return range(worker_index, plan.request_count, worker_count)
    size = settings.burst_query_count
    within = np.arange(worker_index, size, worker_count, dtype=np.int64)
    starts = np.arange(0, plan.request_count, size, dtype=np.int64)
    rows = (starts[:, None] + within).reshape(-1)
    return rows[rows < plan.request_count]


def frozen(column: npt.NDArray[_Value]) -> npt.NDArray[_Value]:
    """The column itself, made read-only."""
    column.flags.writeable = False
    return column
