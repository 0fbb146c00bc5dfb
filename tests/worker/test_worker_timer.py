"""When the timer's way of waiting sets a timer, and when it waits awake."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loadgen_service.worker.issue.timers import (
    NEAR_NS,
    SHARED_NS,
    SKIPPED_COUNT,
    TimerfdWaiter,
)

WELL_NEAR_NS = NEAR_NS // 2


class Turns:
    """An event loop whose turns the test takes; no timer of these tests ever fires."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.ready.append(callback)

    def add_reader(self, _handle: int, _callback: Callable[[], None]) -> None: ...
    def remove_reader(self, _handle: int) -> None: ...

    def turn(self) -> None:
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()


class Rig:
    """A waiter with a clock that the test moves; giving way takes ``others_ns``."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.now_ns = time.monotonic_ns() + 3600 * 10**9
        self.others_ns = 0
        self.given_way = 0
        self.woken_at: list[int] = []
        loop: Any = self.turns
        self.waiter = TimerfdWaiter(
            loop, lambda: self.woken_at.append(self.now_ns), lambda: self.now_ns, self.give_way
        )

    def give_way(self) -> None:
        self.given_way += 1
        self.now_ns += self.others_ns

    def wait_near(self) -> bool:
        """Ask for a near instant and take turns past it; whether it was waited for awake."""
        self.waiter.arm(self.now_ns + WELL_NEAR_NS)
        is_awake = bool(self.turns.ready)
        while self.turns.ready:
            self.turns.turn()
            self.now_ns += 1000
        self.waiter.arm(None)
        return is_awake


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.waiter.close()


def test_a_near_instant_is_waited_for_in_turns_that_give_way(rig: Rig) -> None:
    at_ns = rig.now_ns + WELL_NEAR_NS
    rig.waiter.arm(at_ns)
    rig.waiter.arm(at_ns)
    for turn in (1, 2, 3):
        assert len(rig.turns.ready) == 1
        rig.turns.turn()
        assert rig.given_way == turn
        assert not rig.woken_at
    rig.now_ns = at_ns
    rig.turns.turn()
    assert rig.woken_at == [at_ns]
    assert not rig.turns.ready


def test_the_past_comes_in_the_next_turn_and_not_at_once(rig: Rig) -> None:
    rig.waiter.arm(rig.now_ns - 1)
    assert not rig.woken_at
    rig.turns.turn()
    assert rig.woken_at == [rig.now_ns]
    assert rig.given_way == 0


def test_a_far_instant_takes_no_turn(rig: Rig) -> None:
    rig.waiter.arm(rig.now_ns + NEAR_NS + 1)
    assert not rig.turns.ready


@pytest.mark.parametrize("far_ns", [NEAR_NS + 1, None])
def test_an_instant_put_off_is_no_longer_waited_for(rig: Rig, far_ns: int | None) -> None:
    rig.waiter.arm(rig.now_ns + WELL_NEAR_NS)
    rig.turns.turn()
    rig.waiter.arm(None if far_ns is None else rig.now_ns + far_ns)
    rig.turns.turn()
    assert not rig.turns.ready
    assert not rig.woken_at


def test_one_put_off_and_taken_up_again_wakes_once(rig: Rig) -> None:
    at_ns = rig.now_ns + WELL_NEAR_NS
    rig.waiter.arm(at_ns)
    rig.waiter.arm(None)
    rig.waiter.arm(at_ns)
    rig.now_ns = at_ns
    while rig.turns.ready:
        rig.turns.turn()
    assert rig.woken_at == [at_ns]


def test_where_others_keep_the_processor_the_next_waits_sleep(rig: Rig) -> None:
    assert rig.wait_near()
    rig.others_ns = SHARED_NS + 1
    assert rig.wait_near()
    assert [rig.wait_near() for _ in range(SKIPPED_COUNT)] == [False] * SKIPPED_COUNT
    assert rig.wait_near()


def test_late_it_never_sleeps_whoever_has_the_processor(rig: Rig) -> None:
    rig.others_ns = SHARED_NS + 1
    assert rig.wait_near()
    rig.waiter.arm(rig.now_ns)
    assert rig.turns.ready
