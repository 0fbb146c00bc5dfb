"""The request table: every planned request has one row and one status."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series_builder import MS, Series, closed, fail_rows, plan_of, records_of, server

from loadgen_service.core.plan.plan import shard_rows
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import Counts, query_rows
from loadgen_service.core.records.request_table import assemble, sample_table, samples_in_rows
from loadgen_service.core.settings import Settings


def test_a_whole_run_has_every_row_completed() -> None:
    table = server().table()
    assert (table.status == Status.COMPLETED).all()
    assert (table.duplicate_count, table.foreign_count, table.unexpected_count) == (0, 0, 0)
    assert table.row.tolist() == list(range(len(table)))


def test_records_may_come_in_any_order() -> None:
    mixed, ordered = server(), server()
    mixed.keep(np.random.default_rng(1).permutation(len(mixed.records["row"])))
    assert (mixed.table().completed_ns == ordered.table().completed_ns).all()


def test_rows_after_the_last_issue_are_not_issued() -> None:
    made = server()
    made.keep(made.records["row"] < 600)
    made.workers = [replace(made.workers[0], issued_count=600)]
    table = made.table()
    assert (table.status[600:] == Status.NOT_ISSUED).all()
    assert (table.scheduled_ns[600:] == made.plan.scheduled_ns[600:]).all()
    assert (table.released_ns[600:] == NEVER).all()
    assert (table.sut_index[600:] == 0).all()


def test_an_issued_row_without_a_record_is_lost() -> None:
    made = server()
    made.keep(made.records["row"] != 17)
    assert np.flatnonzero(made.table().status == Status.LOST).tolist() == [17]
    assert made.figures().unaccounted_count == 1


def test_all_rows_of_a_dead_worker_without_a_record_are_lost() -> None:
    made = server(workers=3)
    made.keep((made.records["row"] % 3 != 1) | (made.records["row"] < 100))
    made.workers[1] = replace(made.workers[1], lost=True, issued_count=0)
    table = made.table()
    lost = table.row[table.status == Status.LOST]
    assert (lost % 3 == 1).all()
    assert len(lost) == len([r for r in range(100, len(table)) if r % 3 == 1])
    assert (table.worker_index == table.row % 3).all()
    assert made.figures().unaccounted_count == 0


def test_a_worker_without_facts_is_lost() -> None:
    made = server(workers=2)
    made.keep(made.records["row"] % 2 == 0)
    made.workers = made.workers[:1]
    assert Counts.of(made.table().status).lost == made.plan.request_count // 2


def test_doubles_and_strangers_are_counted_and_the_first_record_stands() -> None:
    made = server()
    end = made.plan.request_count
    stray = records_of(made.plan, np.array([3, 3, 5]), latency_ns=9 * MS)
    alien = records_of(made.plan, np.array([1, 2, 4]))
    alien["row"] = np.array([end, -1, 4])
    alien["status"][2] = 9
    made.records = {
        name: np.concatenate([content, stray[name], alien[name]])
        for name, content in made.records.items()
    }
    table = made.table()
    assert (table.duplicate_count, table.foreign_count) == (3, 3)
    assert table.completed_ns[3] - table.scheduled_ns[3] == 5 * MS
    assert len(table) == end


def test_records_beyond_what_their_worker_says_it_issued_are_unexpected() -> None:
    made = server()
    made.workers = [replace(made.workers[0], issued_count=990)]
    assert made.table().unexpected_count == made.plan.request_count - 990


def test_a_missing_column_and_unequal_lengths_are_refused() -> None:
    made = server()
    short = made.records | {"code": made.records["code"][:-1]}
    made.records = short
    with pytest.raises(ValueError, match="differ in length"):
        made.table()
    short.pop("code")
    with pytest.raises(ValueError, match="code"):
        made.table()


def test_server_timings_are_kept_where_the_sut_gives_them() -> None:
    made = server()
    made.records["server_queue_ns"] = np.arange(len(made.records["row"]))
    made.keep(made.records["row"] != 4)
    table = made.table()
    assert list(table.server) == ["server_queue_ns"]
    assert table.server["server_queue_ns"][3:6].tolist() == [3, NEVER, 5]


def test_an_unbounded_plan_has_one_row_a_request_that_was_issued() -> None:
    made = Series(Settings(scenario="concurrency", concurrency=4, workers=2))
    made.keep(made.records["row"] != 8)
    made.workers = [
        replace(made.workers[0], issued_count=500),
        replace(made.workers[1], issued_count=500),
    ]
    table = made.table()
    assert len(table) == 1000
    assert table.status[8] == Status.LOST
    assert (table.worker_index == table.row % 2).all()
    assert table.scheduled_ns[8] == NEVER


def test_a_dead_worker_of_an_unbounded_plan_loses_the_gaps_before_its_last_record() -> None:
    made = Series(Settings(scenario="concurrency", concurrency=4, workers=2))
    rows = made.records["row"]
    made.keep((rows % 2 == 0) | ((rows < 201) & (rows != 101)))
    made.workers[1] = replace(made.workers[1], lost=True, issued_count=3)
    table = made.table()
    assert table.row[table.status == Status.LOST].tolist() == [101]


def test_burst_shards_name_the_worker_of_each_row() -> None:
    made = Series(Settings(scenario="burst", burst_query_count=5, workers=2))
    table = made.table()
    assert (table.worker_index == table.row % 5 % 2).all()
    assert (table.status == Status.COMPLETED).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.data())
def test_every_planned_request_has_one_end_whatever_is_missing(workers: int, data: st.DataObject):
    made = server(workers=workers, min_duration_ms=100, min_query_count=50)
    count = made.plan.request_count
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    status = data.draw(st.lists(st.sampled_from([1, 2, 3]), min_size=count, max_size=count))
    made.records["status"] = np.array(status, dtype=np.uint8)
    made.keep(kept)
    made.workers = [
        replace(w, lost=data.draw(st.booleans()), issued_count=data.draw(st.integers(0, count)))
        for w in made.workers
    ]
    counts = Counts.of(made.table().status)
    ended = counts.completed + counts.failed + counts.timed_out + counts.lost
    assert counts.planned == count == counts.not_issued + ended
    assert counts.completed == int((made.records["status"] == Status.COMPLETED).sum())


OFFLINE = Settings(scenario="offline", target_qps=100, min_duration_ms=1000, samples_per_request=8)


def test_the_last_request_of_a_query_may_carry_fewer_samples() -> None:
    plan = plan_of(OFFLINE)
    counts = samples_in_rows(plan, np.arange(plan.request_count))
    spans = [plan.request_span(row) for row in range(plan.request_count)]
    assert counts.tolist() == [end - start for start, end in spans]
    assert counts.sum() == plan.samples_per_query


@pytest.mark.parametrize("start_stop", [(0, None), (3, 9), (13, 14)])
def test_the_sample_table_names_the_plans_samples(start_stop: tuple[int, int | None]) -> None:
    made = Series(OFFLINE)
    table = made.table()
    start, stop = start_stop
    columns = sample_table(made.plan, table, start, stop)
    rows = range(len(table))[start:stop]
    spans = [made.plan.request_span(row) for row in rows]
    seq_id = [i for begin, end in spans for i in range(begin, end)]
    assert columns["seq_id"].tolist() == seq_id
    assert columns["sample_index"].tolist() == made.plan.samples[seq_id].tolist()
    assert set(columns["request_index"].tolist()) == set(rows)
    assert len({len(content) for content in columns.values()}) == 1


def test_the_sample_table_of_an_unbounded_plan_repeats_its_block() -> None:
    made = Series(Settings(scenario="concurrency"))
    block = made.plan.query_count
    made.records = records_of(made.plan, np.array([0, 5, block + 5]))
    made.workers = [replace(made.workers[0], issued_count=0, lost=False)]
    columns = sample_table(made.plan, made.table())
    assert columns["query_index"].tolist() == [0, 5, block + 5]
    assert columns["sample_index"][1] == columns["sample_index"][2] == made.plan.samples[5]


def test_a_query_ends_as_its_worst_request_and_when_its_last_came() -> None:
    made = Series(Settings(scenario="multi_stream", samples_per_query=4, min_query_count=5))
    rows = np.arange(12)
    latency = np.tile([1, 4, 2, 3], 3) * MS
    made.records = records_of(made.plan, rows, latency, rows // 4 * 10 * MS)
    fail_rows(made.records, 5, Status.FAILED)
    fail_rows(made.records, 6, Status.TIMED_OUT)
    made.keep(rows != 11)
    made.workers = [replace(made.workers[0], issued_count=11)]
    queries = query_rows(made.plan, made.table())
    first = [Status.COMPLETED, Status.TIMED_OUT, Status.NOT_ISSUED, Status.NOT_ISSUED]
    assert queries.status[:4].tolist() == first
    assert queries.latency_ns.tolist() == [4 * MS]
    assert queries.scheduled_ns[:3].tolist() == [0, 10 * MS, 20 * MS]


def test_shards_of_the_builder_cover_the_plan() -> None:
    made = server(workers=3)
    rows = [r for j in range(3) for r in shard_rows(made.plan, j, 3, made.settings)]
    assert sorted(rows) == list(range(made.plan.request_count))


def test_a_row_number_far_away_costs_no_memory() -> None:
    series = closed("concurrency", 10, concurrency=2)
    series.records["row"][-1] = 1 << 50
    table = series.table()
    assert table.row[-1] == 1 << 50
    assert table.duplicate_count == 0


def test_the_callers_arrays_hold_the_columns() -> None:
    series = server()
    made: list[np.ndarray] = []

    def make(count: int, dtype: np.dtype) -> np.ndarray:
        made.append(np.empty(count, dtype))
        return made[-1]

    shards = [shard_rows(series.plan, 0, 1, series.settings)]
    table = assemble(series.plan, dict(series.records), series.series_facts, shards, make)
    assert any(table.completed_ns is column for column in made)
    assert any(table.row is column for column in made)
