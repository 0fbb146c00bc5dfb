"""Keeps an event loop from sleeping while bytes are expected within microseconds.

For whoever drives a connection; clock, event loop and scheduler are given. Being woken is a good
part of a round trip to a peer nearby. A processor that others want is not worth it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SHARED_NS: Final = 30_000
"""Giving way took longer: others had the processor, perhaps the very peer that is waited for."""

SKIPPED_COUNT: Final = 8
"""So many waits sleep after such a turn: on a shared processor that is nearly all of them."""

LOOK_COUNT: Final = 8
"""Looks between two turns of the loop, which costs more than one: what else waits for it waits some
ten microseconds more."""


class BusyPoll:
    """A callback that is always ready until an instant, and gives way in each turn."""

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        clock_ns: Callable[[], int],
        give_way: Callable[[], object],
        look: Callable[[], bool] | None = None,
    ) -> None:
        """``call_soon`` calls back in the next turn, as an event loop's does; ``give_way`` lets
        others have the processor that want it, as ``os.sched_yield`` does. ``look`` takes what
        has come without the loop's help, and says whether anything had."""
        self._call_soon = call_soon
        self._clock_ns = clock_ns
        self._give_way = give_way
        self._look = look
        self._until_ns = 0
        self._is_turning = False
        self._skip_count = 0

    def until(self, until_ns: int) -> None:
        """Stay awake until this instant; one in the past lets the loop sleep."""
        if self._skip_count:
            self._skip_count -= 1
            return
        self._until_ns = until_ns
        if not self._is_turning and self._clock_ns() < until_ns:
            self._is_turning = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        if self._clock_ns() >= self._until_ns:
            self._is_turning = False
            return
        look = self._look
        if look is not None and any(look() for _ in range(LOOK_COUNT)):
            self._call_soon(self._turn)
            return
        before_ns = self._clock_ns()
        self._give_way()
        if self._clock_ns() - before_ns > SHARED_NS:
            self._skip_count = SKIPPED_COUNT
            self._is_turning = False
        else:
            self._call_soon(self._turn)
