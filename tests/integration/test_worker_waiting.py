"""Both ways to wait, on a real loop: never early, absolute, one wake an instant."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import pytest
import uvloop

from loadgen_service.worker.host.sched_slice import ask_for_short_slices
from loadgen_service.worker.issue.timers import Waiter, make_waiter

WAIT_S = 10.0
POLICIES = ["timerfd", "poll"]


def with_waiter(policy: str, scene: Callable[[Waiter, asyncio.Queue[int]], object]) -> None:
    async def whole() -> None:
        woken: asyncio.Queue[int] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        waiter = make_waiter(
            policy,  # type: ignore[arg-type]
            loop,
            lambda: woken.put_nowait(time.monotonic_ns()),
        )
        try:
            await asyncio.wait_for(scene(waiter, woken), WAIT_S)  # type: ignore[arg-type]
        finally:
            waiter.close()
            waiter.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


@pytest.mark.parametrize("policy", POLICIES)
def test_it_wakes_once_at_each_instant_and_never_before(policy: str) -> None:
    async def scene(waiter: Waiter, woken: asyncio.Queue[int]) -> None:
        for step_ns in (50_000, 300_000, 2_000_000):
            at_ns = time.monotonic_ns() + step_ns
            waiter.arm(at_ns)
            assert await woken.get() >= at_ns
            await asyncio.sleep(0.005)
            assert woken.empty()

    with_waiter(policy, scene)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_instant_in_the_past_wakes_at_once(policy: str) -> None:
    async def scene(waiter: Waiter, woken: asyncio.Queue[int]) -> None:
        waiter.arm(time.monotonic_ns() - 10**9)
        await woken.get()
        waiter.arm(-5)
        await woken.get()

    with_waiter(policy, scene)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_last_instant_counts_and_none_is_none(policy: str) -> None:
    async def scene(waiter: Waiter, woken: asyncio.Queue[int]) -> None:
        waiter.arm(time.monotonic_ns() + 1_000_000)
        waiter.arm(None)
        await asyncio.sleep(0.01)
        assert woken.empty()
        at_ns = time.monotonic_ns() + 3_000_000
        waiter.arm(at_ns - 2_000_000)
        waiter.arm(at_ns)
        assert await woken.get() >= at_ns

    with_waiter(policy, scene)


@pytest.mark.parametrize("policy", POLICIES)
def test_soon_wakes_in_the_next_turn(policy: str) -> None:
    async def scene(waiter: Waiter, woken: asyncio.Queue[int]) -> None:
        waiter.soon()
        assert woken.empty()
        await woken.get()

    with_waiter(policy, scene)


def test_a_closed_timer_gives_its_descriptor_back() -> None:
    async def scene(waiter: Waiter, woken: asyncio.Queue[int]) -> None:
        descriptors = len(os.listdir("/proc/self/fd"))
        waiter.close()
        assert len(os.listdir("/proc/self/fd")) == descriptors - 1
        waiter.arm(time.monotonic_ns())
        await asyncio.sleep(0.005)
        assert woken.empty()

    with_waiter("timerfd", scene)


def test_asking_for_short_slices_is_harmless_twice() -> None:
    assert ask_for_short_slices() == ask_for_short_slices()
