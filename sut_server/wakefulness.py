"""Keeps the event loop awake for the next request while requests come one by one, soon.

For servers whose answers cost nothing, where going to sleep and being woken is most of what a
caller with one call out waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FEW_COUNT: Final = 2
"""Requests of one read; where more come together, sleeping lets the next gather too."""

SOON_NS: Final = 500_000
"""Requests further apart find the loop asleep: 2,000 a second justify a processor, fewer do not."""


class Wakefulness:
    """A callback that is always ready, as long as a request is expected within microseconds."""

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], object], clock_ns: Callable[[], int]
    ) -> None:
        """``call_soon`` calls back in the next turn, as an event loop's does."""
        self._call_soon = call_soon
        self._clock_ns = clock_ns
        self._last_ns = 0
        self._until_ns = 0
        self._is_awake = False

    def note(self, count: int, now_ns: int) -> None:
        """``count`` requests came in one read and have been answered."""
        gap_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if count > FEW_COUNT or gap_ns > SOON_NS:
            return
        self._until_ns = now_ns + 2 * gap_ns
        if not self._is_awake:
            self._is_awake = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        if self._clock_ns() < self._until_ns:
            self._call_soon(self._turn)
        else:
            self._is_awake = False
