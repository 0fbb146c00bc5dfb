"""Figures of streamed answers, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from series_builder import MS, fail_rows, server

from loadgen_service.core.figures.series import series_figures
from loadgen_service.core.figures.streams import StreamFigures, gaps_ns, stream_figures
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.token_rows import CountedBy, TokenRows, joined, no_tokens


def rows_of(*streams: tuple[int, list[int], int]) -> TokenRows:
    """(row, arrivals in ms, input tokens) each."""
    return TokenRows(
        np.array([row for row, _, _ in streams], np.int64),
        np.array([len(arrived) for _, arrived, _ in streams], np.int64),
        np.array([count for _, _, count in streams], np.int32),
        np.full(len(streams), CountedBy.USAGE, np.uint8),
        np.array([at * MS for _, arrived, _ in streams for at in arrived], np.int64),
    )


def test_gaps_are_within_an_answer_and_never_between_two():
    tokens = rows_of((0, [10, 12, 15], 4), (1, [100], 4), (2, [7, 7], 4))
    assert (gaps_ns(tokens) // MS).tolist() == [2, 3, 0]
    assert len(gaps_ns(no_tokens())) == 0


def test_batches_are_joined_and_a_row_counts_once():
    one, two = rows_of((5, [1, 2], 4)), rows_of((3, [9], -1), (5, [1, 2, 3], 4))
    table = joined([one, two])
    assert table.row.tolist() == [5, 3]
    assert (table.arrived_ns // MS).tolist() == [1, 2, 9]
    assert len(joined([])) == 0


def figures_of(series, tokens: TokenRows) -> StreamFigures | None:
    table = series.table()
    return stream_figures(series.settings, series.plan, table, tokens, 2_000_000_000)


def test_only_completed_answers_are_counted():
    series = server()
    series.records["token_count"][:3] = (4, 2, 9)
    fail_rows(series.records, 2, Status.FAILED)
    tokens = rows_of((0, [1, 2, 3, 5], 10), (1, [6, 9], -1), (2, [4, 5], 7))
    found = figures_of(series, tokens)
    assert found is not None
    assert (found.stream_count, found.piece_count) == (2, 6)
    assert (found.output_token_count, found.input_token_count) == (6, 10)
    assert found.output_tokens_per_second == 3.0
    assert found.counted_by == {"usage": 2}
    assert found.itl_ns is not None
    assert (found.itl_ns.count, found.itl_ns.max // MS) == (4, 3)
    assert figures_of(series, no_tokens()) is None


def test_goodput_is_of_queries_within_every_limit():
    series = server(use_token_latencies=True, ttft_latency_ms=2, tpot_latency_ms=1)
    records, count = series.records, len(series.records["row"])
    due = records["scheduled_ns"]
    records["first_response_ns"] = due + 2 * MS
    records["token_count"][:] = 5
    records["completed_ns"] = due + 6 * MS  # exactly both limits
    tokens = rows_of((0, [1, 2], 1))
    found = figures_of(series, tokens)
    assert found is not None
    assert found.goodput_qps == count / 2
    records["first_response_ns"][0] += 1  # too late by a nanosecond
    records["completed_ns"][1] += 1
    records["completed_ns"][2], records["token_count"][2] = due[2] + 900 * MS, 1  # no further token
    fail_rows(records, 3, Status.TIMED_OUT)
    found = figures_of(series, tokens)
    assert found is not None
    assert found.goodput_qps == (count - 3) / 2
    assert found.goodput_limits_ns == {"ttft": 2 * MS, "tpot": MS}


def one_answer(tokens: TokenRows, *, first_ms: int, end_ms: int, count: int, **settings: object):
    """Figures of a series whose first row is the answer; the others are not issued."""
    series = server(**settings)
    records = series.records
    fail_rows(records, slice(1, None), Status.FAILED)
    records["scheduled_ns"][0] = 0
    records["first_response_ns"][0] = first_ms * MS if first_ms >= 0 else -1
    records["completed_ns"][0] = end_ms * MS
    records["token_count"][0] = count
    found = figures_of(series, tokens)
    assert found is not None
    return found


def test_a_usage_that_comes_late_does_not_move_the_time_per_token():
    arrived = list(range(50, 50 + 20 * 20, 20))
    found = one_answer(rows_of((0, arrived, 5)), first_ms=50, end_ms=arrived[-1] + 400, count=20)
    assert found.tpot_ns is not None
    assert (found.tpot_ns.p50, found.tpot_ns.count) == (20 * MS, 1)
    assert found.ttft_ns is not None
    assert found.ttft_ns.p50 == 50 * MS


def test_choices_of_one_answer_are_streams_of_their_own():
    one, two = list(range(50, 900, 85)), list(range(60, 910, 85))
    tokens = rows_of((0, one, 5), (0, two, 5))
    found = one_answer(tokens, first_ms=50, end_ms=950, count=len(one) + len(two))
    assert (found.stream_count, found.piece_count) == (1, len(one) + len(two))
    assert found.tpot_ns is not None
    assert (found.tpot_ns.min, found.tpot_ns.max, found.tpot_ns.count) == (85 * MS, 85 * MS, 2)
    assert found.itl_ns is not None
    assert (found.itl_ns.min, found.itl_ns.max) == (85 * MS, 85 * MS)
    assert found.input_token_count == 5


@pytest.mark.parametrize("arrived", [[2_000], [2_000, 2_080], [1_900, 2_000, 2_080], [90] * 9])
def test_a_tools_call_that_comes_whole_has_no_time_per_token(arrived: list[int]):
    found = one_answer(rows_of((0, arrived, 5)), first_ms=arrived[0], end_ms=2_250, count=24)
    assert found.tpot_ns is None
    assert found.output_token_count == 24


def test_tokens_of_an_answer_without_a_piece_count_and_it_has_no_first_token():
    found = one_answer(rows_of((0, [], 5)), first_ms=-1, end_ms=1_000, count=24)
    assert (found.output_token_count, found.ttft_ns, found.tpot_ns) == (24, None, None)
    assert found.output_tokens_per_second == 12.0


def test_tokens_are_placed_by_their_own_instants():
    """Of 40 tokens in ten pieces four came by 2 s; two of a stream without pieces came later."""
    arrived = [500 * (1 + place) for place in range(10)]
    found = one_answer(rows_of((0, arrived, 5)), first_ms=500, end_ms=6_000, count=40)
    assert found.output_token_count == 40
    assert found.output_tokens_per_second == 8.0
    found = one_answer(rows_of((0, [], 5)), first_ms=-1, end_ms=2_001, count=2)
    assert found.output_tokens_per_second == 0.0


@pytest.mark.parametrize("end_ms", [2_000, 4_000, 8_000])
def test_an_answer_that_spans_the_windows_end_counts_by_its_share(end_ms: int):
    found = one_answer(
        rows_of((0, [1_000], 5)), first_ms=1_000, end_ms=end_ms, count=1, target_latency_ms=9_000
    )
    assert found.goodput_qps == (2_000 / end_ms) / 2


def test_a_row_of_two_batches_keeps_all_streams_of_the_first():
    one = rows_of((5, [1, 2], 4), (5, [3], 4), (6, [4], 4))
    two = rows_of((5, [9], 4), (7, [8], 4))
    assert joined([one, two]).row.tolist() == [5, 5, 6, 7]


def test_a_series_without_streams_has_no_such_figures():
    series = server()
    table = series.table()
    made = series_figures(series.settings, series.plan, table, series.series_facts, no_tokens())
    assert made.streams is None
