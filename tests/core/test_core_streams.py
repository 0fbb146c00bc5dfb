"""Figures of streamed answers, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
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


def test_a_series_without_streams_has_no_such_figures():
    series = server()
    table = series.table()
    made = series_figures(series.settings, series.plan, table, series.series_facts, no_tokens())
    assert made.streams is None
