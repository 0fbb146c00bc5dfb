"""The request table: what the plan asked for joined with what the workers recorded.

Every planned request gets exactly one row and one status; whatever does not fit (doubles,
strangers, more records than a worker says it issued) is counted, never dropped in silence. Decides
no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.facts.run import SeriesFacts, WorkerFacts
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import (
    COLUMNS,
    PARQUET_COLUMNS,
    REQUEST_COLUMNS,
    SERVER_COLUMNS,
    Status,
)
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.stats.percentiles import pieces_of

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Column = npt.NDArray[np.integer]
Shard = range | Int64Array

NO_WORKER: Final = -1

_SPARSE: Final = 8
"""Rows may leave out so many times their number before they are sorted instead of marked."""

Make = Callable[[int, "np.dtype[Any]"], "npt.NDArray[Any]"]
"""Makes an array of so many elements, of any content: where columns live is the caller's."""

_ABSENT: Final = {one.name: one.absent for one in COLUMNS}
"""Column -> what the row of a request without a record holds."""


@dataclass(frozen=True, slots=True)
class RequestTable:
    """One row a request in plan order. ``columns``: by their names in ``core.records.columns``,
    each of ``len(table)`` entries; those of ``SERVER_COLUMNS`` only where the SUT reported any.

    Bounded plans: every planned request, ``row`` counts 0, 1, 2 ... Unbounded ones: every request
    that a worker issued or recorded. Times are ns since the series' start, NEVER (-1) where a thing
    did not happen. ``duplicate_count``: records of a row beyond its first; ``foreign_count``:
    records of rows or with statuses that do not exist; ``unexpected_count``: rows recorded though
    their worker says that it did not issue them.
    """

    series_index: int
    worker_index: Column
    columns: Mapping[str, npt.NDArray[Any]]
    duplicate_count: int = 0
    foreign_count: int = 0
    unexpected_count: int = 0

    def __len__(self) -> int:
        return len(self.row)

    @property
    def row(self) -> Int64Array:
        """Number of the request in the plan, ascending."""
        return self.columns["row"]

    @property
    def sut_index(self) -> Column:
        """Which SUT it went to."""
        return self.columns["sut_index"]

    @property
    def scheduled_ns(self) -> Int64Array:
        """When it was due."""
        return self.columns["scheduled_ns"]

    @property
    def released_ns(self) -> Int64Array:
        """When the pacer let it go."""
        return self.columns["released_ns"]

    @property
    def issued_ns(self) -> Int64Array:
        """When its first byte was handed to the transport."""
        return self.columns["issued_ns"]

    @property
    def first_response_ns(self) -> Int64Array:
        """When the first piece of its answer came."""
        return self.columns["first_response_ns"]

    @property
    def completed_ns(self) -> Int64Array:
        """When its answer was whole."""
        return self.columns["completed_ns"]

    @property
    def status(self) -> Column:
        """A ``Status``."""
        return self.columns["status"]

    @property
    def code(self) -> Column:
        """gRPC status, or ``CODE_BROKEN_CONNECTION``."""
        return self.columns["code"]

    @property
    def token_count(self) -> Column:
        """Output tokens of its answer."""
        return self.columns["token_count"]

    @property
    def server(self) -> Mapping[str, Int64Array]:
        """The SUT's own timings, by column; empty where it reported none."""
        return {name: self.columns[name] for name in SERVER_COLUMNS if name in self.columns}


def assemble(
    plan: SeriesPlan,
    columns: MutableMapping[str, npt.NDArray[np.generic]],
    facts: SeriesFacts,
    shards: Sequence[Shard],
    make: Make = np.empty,
) -> RequestTable:
    """Join the workers' records, in any order, with the plan.

    ``columns``: the record table's columns (core.columns), all batches of all workers joined;
    server columns where the SUT reported any. They are taken out of the mapping, so that a column
    and its place in the table are in memory together for one column only.
    ``shards[j]``: the rows of worker j, ascending. ``make``: for the table's columns.
    Raises ValueError if a column is missing or its length differs from the others'.
    """
    records, foreign_count = _known_records(plan, columns)
    records, duplicate_count = _first_of_each(records)
    owners = _owners(shards, facts, records["row"])
    rows = _table_rows(plan, records["row"], owners, make)
    at = records.pop("row")
    if not _counts_from_zero(rows):
        at = np.searchsorted(rows, at)
    filled: dict[str, Column] = {"row": rows}
    for name in list(records):
        filled[name] = _scatter(name, at, records.pop(name), len(rows), make)
    recorded = np.zeros(len(rows), dtype=np.bool_)
    recorded[at] = True
    worker_index, issued, gone = _mark_owners(rows, owners)
    filled["status"][~recorded & (issued | gone)] = Status.LOST
    _fill_from_plan(plan, rows, recorded, filled)
    return RequestTable(
        series_index=facts.series_index,
        worker_index=worker_index,
        columns=filled,
        duplicate_count=duplicate_count,
        foreign_count=foreign_count,
        unexpected_count=int(np.count_nonzero(recorded & ~issued & ~gone)),
    )


def _is_bounded(plan: SeriesPlan) -> bool:
    return not plan.unbounded


def _known_records(
    plan: SeriesPlan, columns: MutableMapping[str, npt.NDArray[np.generic]]
) -> tuple[dict[str, Int64Array], int]:
    """The records whose row and status exist, and the number of the others."""
    missing = [name for name in REQUEST_COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"record columns are missing: {', '.join(missing)}")
    names = [*REQUEST_COLUMNS, *(name for name in SERVER_COLUMNS if name in columns)]
    if len({len(columns[name]) for name in names}) > 1:
        raise ValueError("record columns differ in length")
    records = {name: np.asarray(columns.pop(name)) for name in names}
    row, status = records["row"], records["status"]
    known = (row >= 0) & (status >= Status.COMPLETED) & (status <= Status.LOST)
    if _is_bounded(plan):
        known &= row < plan.request_count
    foreign_count = len(row) - int(np.count_nonzero(known))
    if foreign_count:
        records = {name: content[known] for name, content in records.items()}
    return records, foreign_count


def _first_of_each(records: dict[str, Int64Array]) -> tuple[dict[str, Int64Array], int]:
    """One record a row, the first to arrive, and the number of the others."""
    rows = records["row"]
    if _are_distinct(rows):
        return records, 0
    _, first = np.unique(rows, return_index=True)
    duplicate_count = len(rows) - len(first)
    return {name: content[first] for name, content in records.items()}, duplicate_count


def _are_distinct(rows: Int64Array) -> bool:
    """Whether no row is there twice, in a byte a row where they are dense, as those of runs are."""
    end = int(rows.max(initial=-1)) + 1
    if end > _SPARSE * len(rows):
        return len(np.unique(rows)) == len(rows)
    seen = np.zeros(end, dtype=np.bool_)
    seen[rows] = True
    return int(np.count_nonzero(seen)) == len(rows)


@dataclass(frozen=True, slots=True)
class _Owner:
    """One worker's rows: all of them, and those that it says it has issued."""

    worker_index: int
    shard: Shard
    issued: Shard
    lost: bool


def _owners(shards: Sequence[Shard], facts: SeriesFacts, recorded: Int64Array) -> list[_Owner]:
    """A worker without facts is a worker lost: nobody vouches for its rows."""
    known = {worker.worker_index: worker for worker in facts.workers}
    owners = []
    for index, shard in enumerate(shards):
        worker = known.get(index, WorkerFacts(worker_index=index, lost=True))
        issued_count = worker.issued_count
        if worker.lost:  # its last word may be older than its last record
            issued_count = max(issued_count, _count_up_to_last(shard, recorded))
        owners.append(_Owner(index, shard, shard[:issued_count], worker.lost))
    return owners


def _count_up_to_last(shard: Shard, recorded: Int64Array) -> int:
    """How many rows of ``shard`` there are up to the last of them that was recorded."""
    if len(recorded) == 0 or len(shard) == 0:
        return 0
    if isinstance(shard, range):
        mine = recorded[(recorded - shard.start) % shard.step == 0]
        return (int(mine.max()) - shard.start) // shard.step + 1 if len(mine) else 0
    mine = recorded[np.isin(recorded, shard)]
    return int(np.searchsorted(shard, mine.max())) + 1 if len(mine) else 0


def _table_rows(
    plan: SeriesPlan, recorded: Int64Array, owners: list[_Owner], make: Make
) -> Int64Array:
    """Rows of the table, ascending: the whole plan, or of an endless one what was issued."""
    if _is_bounded(plan):
        return _counted(plan.request_count, make)
    if len(owners) == 1 and isinstance(owners[0].issued, range):
        count = len(owners[0].issued)
        if owners[0].issued == range(count) and int(recorded.max(initial=-1)) < count:
            return _counted(count, make)
    issued = [np.asarray(owner.issued, dtype=np.int64) for owner in owners]
    return np.unique(np.concatenate([recorded.astype(np.int64, copy=False), *issued]))


def _scatter(name: str, at: Int64Array, content: Column, row_count: int, make: Make) -> Column:
    """A column of the table: each record at its place, the unset value elsewhere."""
    made: Column = make(row_count, content.dtype)
    made.fill(_ABSENT[name])
    made[at] = content
    return made


def _counted(row_count: int, make: Make) -> Int64Array:
    """0, 1, 2 ... in an array of the caller's."""
    rows: Int64Array = make(row_count, np.dtype(np.int64))
    for piece in pieces_of(row_count):
        rows[piece] = np.arange(piece.start, piece.stop)
    return rows


def _mark_owners(rows: Int64Array, owners: list[_Owner]) -> tuple[Column, BoolArray, BoolArray]:
    """Of each table row: its worker, whether that says it issued it, whether that is lost."""
    worker_index: Column = np.full(len(rows), NO_WORKER, dtype=np.int16)
    issued = np.zeros(len(rows), dtype=np.bool_)
    gone = np.zeros(len(rows), dtype=np.bool_)
    for owner in owners:
        mine = _places(rows, owner.shard)
        worker_index[mine] = owner.worker_index
        gone[mine] = owner.lost
        issued[_places(rows, owner.issued)] = True
    return worker_index, issued, gone


def _counts_from_zero(rows: Int64Array) -> bool:
    """Whether ascending rows are 0, 1, 2 ...: then each is its own place."""
    return len(rows) == 0 or int(rows[-1]) == len(rows) - 1


def _places(rows: Int64Array, shard: Shard) -> slice | npt.NDArray[np.bool_] | Int64Array:
    """Where the rows of ``shard`` stand among the ascending ``rows``."""
    if len(shard) == 0 or len(rows) == 0:
        return slice(0, 0)
    if _counts_from_zero(rows):
        last = len(rows)
        if isinstance(shard, range):
            return slice(shard.start, min(shard.stop, last), shard.step)
        return shard[shard < last]
    if isinstance(shard, range):
        inside = (rows >= shard.start) & (rows <= shard[-1])
        mine: BoolArray = inside & ((rows - shard.start) % shard.step == 0)
        return mine
    return np.isin(rows, shard)


def _fill_from_plan(
    plan: SeriesPlan, rows: Int64Array, recorded: BoolArray, filled: dict[str, Column]
) -> None:
    """Requests without a record keep what the plan knows: the due instant and the SUT."""
    absent = np.flatnonzero(~recorded)
    if len(absent) == 0:
        return
    queries = rows[absent] // plan.requests_per_query
    if len(plan.scheduled_ns) and has_planned_instants(plan):
        filled["scheduled_ns"][absent] = plan.scheduled_ns[queries % len(plan.scheduled_ns)]
    if len(plan.sut_index):
        filled["sut_index"][absent] = plan.sut_index[queries % len(plan.sut_index)]


def has_planned_instants(plan: SeriesPlan) -> bool:
    """Whether due times come from the plan; closed loops take theirs from completions."""
    return not SCENARIOS[plan.scenario].closed


def samples_in_rows(plan: SeriesPlan, rows: Int64Array) -> Int64Array:
    """How many samples each request carries: the last of a query may carry fewer."""
    if plan.samples_per_query == 1:  # of no size, whatever the number of rows
        return np.broadcast_to(np.int64(1), len(rows))
    place = rows % plan.requests_per_query
    left = plan.samples_per_query - place * plan.samples_per_request
    counts: Int64Array = np.minimum(plan.samples_per_request, left)
    return counts


def sample_table(
    plan: SeriesPlan, table: RequestTable, start: int = 0, stop: int | None = None
) -> dict[str, Column]:
    """Columns of one row a sample, for the requests ``start`` to ``stop`` of ``table``.

    Requests in plan order, samples in the order of their request. ``seq_id`` numbers the samples of
    the run's measured series; ``request_index`` is the request's row in the plan. Take the table in
    pieces where all samples at once would be too much memory.
    """
    piece = slice(start, len(table) if stop is None else stop)
    rows = table.row[piece]
    counts = samples_in_rows(plan, rows)
    spread = np.repeat(np.arange(len(rows)), counts)
    query_index = rows // plan.requests_per_query
    first = query_index * plan.samples_per_query + (
        rows % plan.requests_per_query * plan.samples_per_request
    )
    within = np.arange(len(spread)) - np.repeat(np.cumsum(counts) - counts, counts)
    sample = first[spread] + within
    columns: dict[str, Column] = {
        "series": np.full(len(spread), table.series_index, dtype=np.int32),
        "stream": np.zeros(len(spread), dtype=np.int32),
        "seq_id": plan.spec.first_sequence_id + sample,
        "query_index": query_index[spread],
        "request_index": rows[spread],
        "sample_index": plan.samples[sample % max(1, len(plan.samples))],
    }
    columns["worker_index"] = table.worker_index[piece][spread]
    for name in PARQUET_COLUMNS:
        if name in table.columns:
            columns[name] = table.columns[name][piece][spread]
    return columns
