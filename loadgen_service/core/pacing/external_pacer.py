"""Keeps the counts of a pacer while somebody else paces: the official LoadGen.

Infers from counts and instants which of LoadGen's rules ended a series, since LoadGen tells only
its log. Holds no clock.
"""

from __future__ import annotations

from typing import Final

from loadgen_service.core.pacing.pacer import FAILURE_STREAK_ROUNDS, Pacer
from loadgen_service.core.plan.series import SeriesPlan
from loadgen_service.core.settings import Settings

STREAK_NS: Final = 7_000_000_000
"""A closed loop ends when nothing but failures came for so long: what our own backoff adds up to.
LoadGen has none, so that a SUT that refuses at once would end a run within microseconds."""


class OfficialPacer(Pacer):
    """``release`` what LoadGen issued; ``finish`` when it says that nothing more will come."""

    __slots__ = ("_last_ns", "_streak_since_ns")

    def __init__(self, settings: Settings, plan: SeriesPlan) -> None:
        super().__init__(settings, plan, 0, 1)
        self.ended_by = ""
        self._last_ns = 0
        self._streak_since_ns = 0

    def take(self, now_ns: int) -> range:
        """Nothing: LoadGen issues."""
        return range(0)

    def wake_ns(self) -> int | None:
        """Never: LoadGen wakes by itself."""
        return None

    def release(self, count: int, now_ns: int) -> range:
        """Positions of ``count`` requests that LoadGen issued at ``now_ns``."""
        first = self._position
        self._position = first + count
        self.outstanding += count
        self._last_ns = now_ns
        return range(first, self._position)

    def complete(self, count: int, now_ns: int) -> None:
        """See ``Pacer.complete``."""
        self._settle(count)
        self._streak = 0

    def fail(self, count: int, now_ns: int) -> None:
        """See ``Pacer.fail``; nothing can hold LoadGen back, so a streak only ends the series."""
        self._settle(count)
        if not self._share.closed:
            return
        if not self._streak:
            self._streak_since_ns = now_ns
        self._streak += count
        rounds = self._streak // self._share.window
        if rounds >= FAILURE_STREAK_ROUNDS and now_ns - self._streak_since_ns >= STREAK_NS:
            self.ended_by = self.ended_by or "failures"

    def finish(self) -> None:
        """LoadGen flushed: nothing more will come. The rules in its own order (1.7)."""
        if self.ended_by:
            return
        share = self._share
        minima = self._position >= share.minimum_count and self._last_ns >= share.target_ns
        if minima:
            self.ended_by = "minima"
        elif self._position >= share.row_count:
            self.ended_by = share.last_row_reason
        elif share.max_duration_ns and self._last_ns > share.max_duration_ns:
            self.ended_by = "max_duration"
        else:
            self.ended_by = "max_async_queries"
