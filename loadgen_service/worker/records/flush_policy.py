"""When the rows of a series are sealed into a batch. Pure: instants and counts are arguments."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.worker.records.record_log import BLOCK_ROW_COUNT

SEAL_ROW_COUNT: Final = 4096
"""A batch costs its way by itself: fast runs send large ones, slow ones do not wait for them."""
SEAL_ROW_COUNT_CLOSED: Final = BLOCK_ROW_COUNT
"""A closed loop has no instants to keep, from which the work on a larger batch could keep it."""
SEAL_AGE_NS: Final = 100_000_000


def seal_row_count(scenario: str) -> int:
    """How many rows a batch gets where they come faster than ``SEAL_AGE_NS`` asks for one."""
    return SEAL_ROW_COUNT_CLOSED if SCENARIOS[scenario].closed else SEAL_ROW_COUNT


class FlushPolicy:
    """Says at each tick whether to seal. ``sealed_count``: the log's seals, a full block's too."""

    def __init__(self, row_count: int, sealed_count: int) -> None:
        self._row_count = row_count
        self._sealed_count = sealed_count
        self._sealed_ns = 0

    def is_due(self, now_ns: int, unsealed_count: int, sealed_count: int, keeps_more: bool) -> bool:
        """Whether there are rows for a batch, or the oldest thing that waits may be too old.

        Where a block was full its rows have gone and those since are young; not so if something
        else (``keeps_more``) waits, which only a seal of the whole takes along.
        """
        if sealed_count != self._sealed_count and not keeps_more:
            self._sealed_count, self._sealed_ns = sealed_count, now_ns
        return unsealed_count >= self._row_count or now_ns - self._sealed_ns >= SEAL_AGE_NS

    def note_seal(self, now_ns: int, sealed_count: int) -> None:
        """All that waited has been sealed."""
        self._sealed_count, self._sealed_ns = sealed_count, now_ns
