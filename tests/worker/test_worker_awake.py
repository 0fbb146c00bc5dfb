"""When a worker waits for an answer without sleeping."""

from __future__ import annotations

from pathlib import Path

from worker_fakes import T0_NS, Rig

from loadgen_service.core.settings import Settings
from loadgen_service.worker.issue.timers import FEW_COUNT, SOON_NS, awake_until_ns


def rig_of(tmp_path: Path, concurrency: int) -> Rig:
    settings = Settings(
        scenario="concurrency", concurrency=concurrency, min_duration_ms=10, min_query_count=20
    )
    rig = Rig(tmp_path, settings)
    rig.wake()
    return rig


def test_a_single_answer_that_came_soon_is_followed_by_waiting_awake(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, 1)
    rig.at(40_000)
    rig.answer([0])
    assert rig.waiter.awake_until_ns == T0_NS + 40_000 + 2 * 40_000
    rig.at(40_000 + SOON_NS + 1)
    rig.answer([1])
    assert rig.waiter.awake_until_ns == 0


def test_the_last_of_several_reads_counts(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, 2)
    answers = [(T0_NS + at, rig.suts[0].answers([key])) for key, at in ((0, 10), (1, 70))]
    rig.at(80)
    rig.loop.on_reads(answers)
    assert rig.waiter.awake_until_ns == T0_NS + 70 + 2 * 70


def test_with_more_out_it_sleeps_as_usual(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, FEW_COUNT + 1)
    rig.at(40_000)
    rig.answer(list(range(FEW_COUNT + 1)))
    assert rig.waiter.awake_until_ns is None


def test_a_request_that_never_left_is_no_soon_answer() -> None:
    assert awake_until_ns(T0_NS, -1) == 0
