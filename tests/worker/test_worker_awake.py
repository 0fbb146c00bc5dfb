"""When a worker waits for an answer without sleeping."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_fakes import T0_NS, Rig

from loadgen_service.core.settings import Settings
from loadgen_service.worker.waiting import SOON_NS, TimerfdWaiter, awake_until_ns


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
    rig = rig_of(tmp_path, 3)
    rig.at(40_000)
    rig.answer([0, 1, 2])
    assert rig.waiter.awake_until_ns is None


def test_a_request_that_never_left_is_no_soon_answer() -> None:
    assert awake_until_ns(T0_NS, -1) == 0


class Turns:
    """An event loop's ``call_soon``; nothing else is used here."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.ready.append(call)

    def add_reader(self, fd: int, call: Callable[[], None]) -> None: ...

    def remove_reader(self, fd: int) -> None: ...

    def run(self) -> None:
        ready, self.ready = self.ready, []
        for call in ready:
            call()


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="Linux only")
def test_the_loop_is_kept_turning_until_the_instant_and_not_longer() -> None:
    turns, now = Turns(), [1_000]
    loop: asyncio.AbstractEventLoop = turns  # type: ignore[assignment]
    waiter = TimerfdWaiter(loop, lambda: None, lambda: now[0])
    try:
        waiter.stay_awake(0)
        assert not turns.ready
        waiter.stay_awake(2_000)
        waiter.stay_awake(3_000)
        for now[0] in (1_500, 2_500):
            assert len(turns.ready) == 1
            turns.run()
        waiter.stay_awake(0)
        turns.run()
        assert not turns.ready
        waiter.stay_awake(4_000)
        waiter.close()
        turns.run()
        assert not turns.ready
    finally:
        waiter.close()
