"""When the next request is waited for awake: where they come soon after one another.

For servers whose answers cost nothing, where going to sleep and being woken is most of what a
caller waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SOON_NS: Final = 500_000
"""Reads further apart find the loop asleep: 2,000 a second justify a processor, fewer do not."""


class NextRequest:
    """Asks ``stay_awake_until`` (``host_tuning.busy_poll``) while requests come soon."""

    def __init__(self, stay_awake_until: Callable[[int], None]) -> None:
        self._stay_awake_until = stay_awake_until
        self._last_ns = 0

    def note(self, now_ns: int) -> None:
        """Requests came in a read and have been answered."""
        gap_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if gap_ns <= SOON_NS:
            self._stay_awake_until(now_ns + 2 * gap_ns)
