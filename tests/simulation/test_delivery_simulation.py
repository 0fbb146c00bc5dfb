"""Whatever breaks, every record is stored once, and what is missing is counted and named."""

from __future__ import annotations

import os

import pytest
from delivery_world import Ended, play

from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    plan_series,
    series_specs,
    shard_rows,
)
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.request_table import assemble
from loadgen_service.core.settings import Settings

SETTINGS = Settings(scenario="server", target_qps=1000, min_duration_ms=300, min_query_count=300)
WORKERS = 3


@pytest.fixture(scope="module")
def plan() -> SeriesPlan:
    counts = SampleCounts(64, 64)
    return plan_series(SETTINGS, counts, series_specs(SETTINGS, counts)[0])


def check(plan: SeriesPlan, ended: Ended) -> None:
    shards = [shard_rows(plan, index, WORKERS, SETTINGS) for index in range(WORKERS)]
    stored = [(frame.worker, frame.sequence) for frame in ended.service.disk]
    assert len(stored) == len(set(stored)), "a batch is on the disk twice"
    for worker in ended.workers:
        on_disk = {r for f in ended.service.disk if f.worker == worker.index for r in f.rows}
        assert on_disk <= set(worker.issued)
        if worker.is_alive:
            assert on_disk == set(worker.issued), "a living worker's records are missing"
            assert worker.outbox.unacknowledged_count == 0
    assert not ended.service.gaps
    assert not any(ledger.gaps for ledger in ended.service.ledgers.values())
    table = assemble(plan, ended.columns(), ended.facts(), shards)
    assert table.duplicate_count == table.foreign_count == 0
    settled = [int((table.status == status).sum()) for status in Status]
    assert sum(settled) == plan.request_count
    missing = sum(len(w.issued) for w in ended.workers) - sum(
        len(frame.rows) for frame in ended.service.disk
    )
    lost = int((table.status == Status.LOST).sum())
    if all(worker.is_alive for worker in ended.workers):
        assert lost == missing == 0
    else:
        assert lost >= missing


def play_and_check(plan: SeriesPlan, seeds: range) -> None:
    shards = [list(shard_rows(plan, index, WORKERS, SETTINGS)) for index in range(WORKERS)]
    for seed in seeds:
        try:
            check(plan, play(seed, shards))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_a_thousand_worlds_lose_and_double_nothing(plan: SeriesPlan) -> None:
    play_and_check(plan, range(1000))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_worlds_lose_and_double_nothing(plan: SeriesPlan) -> None:
    """``LOADGEN_SEEDS`` worlds (50,000)."""
    play_and_check(plan, range(int(os.environ.get("LOADGEN_SEEDS", "50000"))))


def test_the_check_notices_a_batch_stored_twice(plan: SeriesPlan) -> None:
    shards = [list(shard_rows(plan, index, WORKERS, SETTINGS)) for index in range(WORKERS)]
    ended = play(3, shards)
    ended.service.disk.append(ended.service.disk[0])
    with pytest.raises(AssertionError, match="twice"):
        check(plan, ended)


def test_the_check_notices_a_lost_batch(plan: SeriesPlan) -> None:
    shards = [list(shard_rows(plan, index, WORKERS, SETTINGS)) for index in range(WORKERS)]
    ended = next(e for e in (play(seed, shards) for seed in range(50)) if _all_alive(e))
    ended.service.disk.pop()
    with pytest.raises(AssertionError, match="missing"):
        check(plan, ended)


def _all_alive(ended: Ended) -> bool:
    return all(worker.is_alive for worker in ended.workers)
