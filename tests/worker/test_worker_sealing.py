"""How many rows a batch gets."""

from __future__ import annotations

import pytest

from loadgen_service.worker.record_log import BLOCK_ROW_COUNT
from loadgen_service.worker.series import SEAL_ROW_COUNT, seal_row_count


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "concurrency"])
def test_a_closed_loop_fills_a_block(scenario: str) -> None:
    assert seal_row_count(scenario) == BLOCK_ROW_COUNT > SEAL_ROW_COUNT


@pytest.mark.parametrize("scenario", ["server", "offline", "burst"])
def test_instants_are_not_put_at_risk_by_a_large_batch(scenario: str) -> None:
    assert seal_row_count(scenario) == SEAL_ROW_COUNT
