"""An event loop is kept turning until an instant, and on a shared processor it is not."""

from __future__ import annotations

from collections.abc import Callable

from host_tuning.busy_poll import LOOK_COUNT, SHARED_NS, SKIPPED_COUNT, BusyPoll


class Turns:
    """An event loop's ``call_soon``, a clock, and a scheduler that takes what it is told."""

    def __init__(self, look: Callable[[], bool] | None = None) -> None:
        self.ready: list[Callable[[], None]] = []
        self.now_ns = 1_000
        self.released_ns = 0
        self.given_count = 0
        self.wakefulness = BusyPoll(self.ready.append, lambda: self.now_ns, self._give_way, look)

    def _give_way(self) -> None:
        self.given_count += 1
        self.now_ns += self.released_ns

    def turn(self) -> None:
        self.ready.pop()()


def test_the_loop_turns_until_the_instant_and_not_longer() -> None:
    turns = Turns()
    turns.wakefulness.until(2_000)
    turns.wakefulness.until(3_000)
    for now_ns in (1_500, 2_500):
        assert len(turns.ready) == 1
        turns.now_ns = now_ns
        turns.turn()
    turns.now_ns = 3_000
    turns.turn()
    assert not turns.ready
    assert turns.given_count == 2
    turns.wakefulness.until(4_000)
    assert len(turns.ready) == 1


def test_an_instant_in_the_past_lets_it_sleep() -> None:
    turns = Turns()
    turns.wakefulness.until(0)
    assert not turns.ready
    turns.wakefulness.until(2_000)
    turns.wakefulness.until(0)
    turns.turn()
    assert not turns.ready


def test_where_others_want_the_processor_most_waits_sleep() -> None:
    turns = Turns()
    turns.released_ns = SHARED_NS + 1
    turns.wakefulness.until(10**9)
    turns.turn()
    for _ in range(SKIPPED_COUNT):
        assert not turns.ready
        turns.wakefulness.until(10**9)
    assert not turns.ready
    turns.wakefulness.until(10**9)
    turns.released_ns = SHARED_NS
    turns.turn()
    assert len(turns.ready) == 1


def test_a_look_that_finds_something_spares_the_others_turn() -> None:
    found = [False, False, True]
    turns = Turns(found.pop)
    turns.wakefulness.until(2_000)
    turns.turn()
    assert not turns.given_count
    assert found == [False, False]  # the loop has its turn first
    assert len(turns.ready) == 1


def test_others_have_their_turn_where_some_looks_find_nothing() -> None:
    looks: list[int] = []
    turns = Turns(lambda: bool(looks.append(1)))
    turns.wakefulness.until(2_000)
    turns.turn()
    assert len(looks) == LOOK_COUNT
    assert turns.given_count == 1
    assert len(turns.ready) == 1
    turns.now_ns = 2_000
    turns.turn()
    assert len(looks) == LOOK_COUNT
    assert not turns.ready
