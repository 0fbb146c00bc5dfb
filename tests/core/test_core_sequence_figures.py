"""Accounting of sequences: every begun one ended in one way, and every issued row is found."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from series_builder import MS, fail_rows, records_of

from loadgen_service.core.facts.run import SeriesFacts, WorkerFacts
from loadgen_service.core.figures.series import SequenceFigures, SeriesFigures, series_figures
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, plan_series, series_specs
from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.request_table import RequestTable, assemble
from loadgen_service.core.records.sequence_rows import issued_rows, sequence_columns
from loadgen_service.core.settings import Settings

ROOT = Path(__file__).parent.parent.parent
LENGTH = 4
WORKERS = 2
SETTINGS = Settings(scenario="concurrency", concurrency=4, workers=WORKERS, sequences="f")


def plan_of_fours() -> SeriesPlan:
    counts = SampleCounts(4, 4, SequenceSet.of([[0, 1, 2, 3]]))
    return plan_series(SETTINGS, counts, series_specs(SETTINGS, counts)[0])


def rows_of(*steps: int) -> np.ndarray:
    """Rows of sequences 0, 1, 2 ...: so many steps of each."""
    return np.concatenate([np.arange(n * LENGTH, n * LENGTH + count) for n, count in
                           enumerate(steps)])  # fmt: skip


def table_of(records: dict[str, np.ndarray], *workers: WorkerFacts) -> RequestTable:
    plan, facts = plan_of_fours(), SeriesFacts(0, workers=workers)
    assert plan.sequences is not None
    shards = issued_rows(plan.sequences, records, facts, WORKERS, SETTINGS.concurrency)
    return assemble(plan, records, facts, shards)


def figures_of(records: dict[str, np.ndarray], *workers: WorkerFacts) -> SeriesFigures:
    facts = SeriesFacts(0, workers=workers)
    return series_figures(SETTINGS, plan_of_fours(), table_of(records, *workers), facts)


def worker(index: int, issued: int, **more: Any) -> WorkerFacts:
    return WorkerFacts(index, issued_count=issued, **more)


def test_gaps_between_live_sequences_are_no_lost_requests() -> None:
    rows = rows_of(4, 4, 2, 1, 3)
    figures = figures_of(records_of(plan_of_fours(), rows), worker(0, 9), worker(1, 5))
    assert (figures.requests.completed, figures.requests.lost) == (14, 0)
    assert (figures.unaccounted_count, figures.unexpected_count) == (0, 0)
    assert {part.index: part.requests.completed for part in figures.workers} == {0: 9, 1: 5}


def test_begun_is_the_sum_of_the_ways_in_which_sequences_end() -> None:
    rows = rows_of(4, 4, 2, 3, 4, 1)
    records = records_of(plan_of_fours(), rows, 5 * MS, rows * MS)
    fail_rows(records, rows == 3 * LENGTH + 2, Status.FAILED)
    fail_rows(records, rows == 5 * LENGTH, Status.TIMED_OUT)
    fail_rows(records, rows == 4 * LENGTH + 1, Status.LOST)
    found = figures_of(records, worker(0, 10), worker(1, 8)).sequences
    assert found is not None
    assert (found.begun, found.completed, found.cut, found.failed, found.lost) == (6, 2, 1, 2, 1)
    assert found.duration_ns is not None
    assert (found.duration_ns.min, found.duration_ns.max) == (8 * MS, 8 * MS)  # 3 steps and 5 ms
    assert found.request_count is not None
    assert found.request_count.max == LENGTH


def test_a_missing_record_inside_a_sequence_is_a_lost_request() -> None:
    rows = np.delete(rows_of(4, 4, 4, 4), [1, 6])
    figures = figures_of(records_of(plan_of_fours(), rows), worker(0, 8), worker(1, 8))
    assert (figures.requests.issued, figures.requests.lost) == (16, 2)
    assert figures.unaccounted_count == 2
    assert figures.sequences is not None
    assert (figures.sequences.completed, figures.sequences.lost) == (2, 2)


def test_what_a_dead_worker_said_it_issued_is_lost_where_no_record_came() -> None:
    rows = rows_of(4, 4, 2, 1)
    gone = worker(1, 5 + 4, lost=True)  # two live sequences, two requests each beyond the records
    table = table_of(records_of(plan_of_fours(), rows), worker(0, 6), gone)
    lost = table.row[table.status == Status.LOST]
    # sequence 3 goes on at its second request, sequence 5 begins: what it would have sent next
    assert lost.tolist() == [13, 14, 20, 21]
    assert (table.worker_index[table.status == Status.LOST] == 1).all()


def test_sequences_that_were_live_as_their_worker_died_are_lost_and_not_cut() -> None:
    rows = rows_of(4, 4, 2, 1)
    found = figures_of(records_of(plan_of_fours(), rows), worker(0, 6), worker(1, 0, lost=True))
    assert found.requests.lost == 0  # nobody said that anything more was issued
    assert found.sequences is not None
    assert (found.sequences.completed, found.sequences.cut, found.sequences.lost) == (2, 1, 1)


def test_a_failed_sequence_is_not_gone_on_with_in_the_books() -> None:
    rows = rows_of(1, 1)
    records = records_of(plan_of_fours(), rows)
    fail_rows(records, rows == LENGTH, Status.FAILED)
    table = table_of(records, worker(0, 1), worker(1, 2, lost=True))
    assert table.row[table.status == Status.LOST].tolist() == [3 * LENGTH]


def test_many_sequences_of_a_dead_worker_are_accounted_for() -> None:
    rows = rows_of(*[4] * 20_000, 1, 1)
    gone = worker(1, 40_001 + 5, lost=True)
    table = table_of(records_of(plan_of_fours(), rows), worker(0, 40_001), gone)
    assert np.count_nonzero(table.status == Status.LOST) == 5
    assert len(table) == len(rows) + 5


def test_a_record_from_beyond_the_plan_makes_no_gap_of_millions() -> None:
    rows = np.append(rows_of(4, 4), 2**50 * LENGTH)
    table = table_of(records_of(plan_of_fours(), rows), worker(0, 5), worker(1, 4))
    assert len(table) == 9
    assert np.count_nonzero(table.status == Status.LOST) == 0


def test_records_beyond_what_their_worker_issued_are_counted() -> None:
    figures = figures_of(records_of(plan_of_fours(), rows_of(4, 4)), worker(0, 4), worker(1, 3))
    assert figures.unexpected_count == 1


@pytest.mark.parametrize("workers", [(), (worker(0, 0), worker(1, 0))])
def test_a_series_without_records_has_no_sequences(workers: tuple[WorkerFacts, ...]) -> None:
    none = records_of(plan_of_fours(), np.empty(0))
    assert figures_of(none, *workers).sequences == SequenceFigures(0, 0, 0, 0, 0, None, None)


def test_columns_name_the_sequence_and_the_step_of_each_row() -> None:
    play = plan_of_fours().sequences
    assert play is not None
    found = sequence_columns(play, rows_of(2, 1, 3))
    assert found["sequence_id"].tolist() == [1, 1, 2, 3, 3, 3]
    assert found["sequence_step"].tolist() == [0, 1, 0, 0, 1, 2]


def test_the_page_names_every_figure() -> None:
    page = (ROOT / "docs" / "reference" / "summary.md").read_text(encoding="utf-8")
    for name in ("sequences", *(field.name for field in fields(SequenceFigures))):
        assert f"`{name}`" in page, name
