"""How many rows a batch gets, and when it is sealed."""

from __future__ import annotations

import pytest

from loadgen_service.worker.records.record_log import (
    BLOCK_ROW_COUNT,
    SEAL_AGE_NS,
    SEAL_ROW_COUNT,
    FlushPolicy,
    seal_row_count,
)


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "concurrency"])
def test_a_closed_loop_fills_a_block(scenario: str) -> None:
    assert seal_row_count(scenario) == BLOCK_ROW_COUNT > SEAL_ROW_COUNT


@pytest.mark.parametrize("scenario", ["server", "offline", "burst"])
def test_instants_are_not_put_at_risk_by_a_large_batch(scenario: str) -> None:
    assert seal_row_count(scenario) == SEAL_ROW_COUNT


TICK_NS = SEAL_AGE_NS // 5


def seals(rule: FlushPolicy, log: list[tuple[int, int]], keeps_more: bool = False) -> list[int]:
    """At which ticks it seals: per tick the unsealed rows, and the seals of full blocks so far."""
    found: list[int] = []
    for tick, (unsealed, blocks) in enumerate(log):
        now_ns = 10**12 + tick * TICK_NS
        if rule.is_due(now_ns, unsealed, blocks + len(found), keeps_more):
            found.append(tick)
            rule.note_seal(now_ns, blocks + len(found))
    return found


def test_few_rows_are_sealed_when_they_are_old() -> None:
    assert seals(FlushPolicy(100, 0), [(1, 0)] * 16) == [0, 5, 10, 15]


def test_many_rows_are_sealed_at_once() -> None:
    assert seals(FlushPolicy(100, 0), [(1, 0), (99, 0), (100, 0), (1, 0), (300, 0)]) == [0, 2, 4]


def test_no_small_batch_is_sealed_behind_a_full_block() -> None:
    blocks_fill = [(1, 0)] + [(50, 1 + tick // 2) for tick in range(14)]
    assert seals(FlushPolicy(100, 0), blocks_fill) == [0]
    then_no_more = [*blocks_fill, *[(50, 7)] * 9]
    assert seals(FlushPolicy(100, 0), then_no_more) == [0, 18, 23]


def test_what_else_waits_is_not_left_behind_a_full_block() -> None:
    blocks_fill = [(1, 0)] + [(50, 1 + tick // 2) for tick in range(14)]
    assert seals(FlushPolicy(100, 0), blocks_fill, keeps_more=True) == [0, 5, 10]
