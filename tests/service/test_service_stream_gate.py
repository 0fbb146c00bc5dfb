"""Streams meet: nobody starts before the last is armed, and one that never comes stops the rest."""

from __future__ import annotations

import asyncio

import pytest

from loadgen_service.service.run.clocks import MORE_STREAMS, StreamGate, StreamPlace
from loadgen_service.service.run.worker_sessions import Interrupted, LeasedWorkers, Sessions


def gate(count: int, broken: list[int] | None = None) -> StreamGate:
    stopped = broken if broken is not None else []
    return StreamGate([f"s{i}" for i in range(count)], stopped.append)


def test_the_last_to_come_sets_the_start_by_the_widest_margin() -> None:
    meeting = gate(3)
    meeting.come(1, 1_000, 50)
    meeting.come(0, 2_000, 900)
    assert meeting.t0_ns is None
    assert meeting.awaited() == ["s2"]
    meeting.come(2, 3_000, 70)
    assert meeting.t0_ns == 3_000 + MORE_STREAMS * 900


def test_a_stream_that_leaves_before_the_start_breaks_it_once() -> None:
    broken: list[int] = []
    meeting = gate(3, broken)
    meeting.come(0, 0, 10)
    meeting.leave(1)
    meeting.leave(1)
    meeting.leave(0)
    meeting.come(2, 0, 10)
    assert broken == [1]
    assert meeting.t0_ns is None


def test_after_the_start_leaving_breaks_nothing() -> None:
    broken: list[int] = []
    meeting = gate(2, broken)
    meeting.come(0, 0, 10)
    meeting.come(1, 0, 10)
    meeting.leave(0)
    assert broken == []
    assert meeting.has_left(0)
    assert not meeting.has_left(1)


def test_only_the_first_measured_series_meets_the_others() -> None:
    meeting = gate(2)
    place = StreamPlace(meeting, 0)
    assert not place.meets_before("warmup")
    assert place.meets_before("performance")
    meeting.come(0, 0, 10)
    assert not place.meets_before("performance")


def test_all_wait_for_one_start_and_results_for_the_last_to_leave() -> None:
    async def scenario() -> list[int]:
        sessions, meeting = Sessions(), gate(3)
        leased = LeasedWorkers(sessions, (), 0)
        looked: list[int] = []

        async def come(index: int, turns: int) -> int:
            for _ in range(turns):
                await asyncio.sleep(0)
            place = StreamPlace(meeting, index)
            started = await place.meet(leased, 5, lambda: looked.append(index), lambda: False)
            meeting.leave(index)
            await meeting.all_left()
            assert all(meeting.has_left(i) for i in range(3))
            return started

        starts = await asyncio.gather(*(come(i, 3 * i) for i in range(3)))
        assert {0, 1} <= set(looked)
        return starts

    starts = asyncio.run(scenario())
    assert len(set(starts)) == 1


def test_a_stopped_stream_does_not_wait_for_the_others() -> None:
    async def scenario() -> None:
        place = StreamPlace(gate(2), 0)
        await place.meet(LeasedWorkers(Sessions(), (), 0), 5, lambda: None, lambda: True)

    with pytest.raises(Interrupted):
        asyncio.run(scenario())
