"""Words for processor time that others took from the workers while they measured.

A run of a busy host is no less valid by LoadGen's rules; its tail holds the host's pauses, and a
reader who is not told takes them for the system's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

STOLEN_SHARE_TOLD: Final = 0.01
"""From here on the ninety-ninth percentile may be the hypervisor's."""

WAITED_SHARE_TOLD: Final = 0.05
"""Waits for a processor that other processes held; each mostly a few microseconds, so more."""


class Deprived(Protocol):
    """A worker's part in a series, as facts or as summary."""

    @property
    def worker_index(self) -> int: ...
    @property
    def host(self) -> str: ...
    @property
    def stolen_share(self) -> float | None: ...
    @property
    def waited_share(self) -> float | None: ...


def contention_notes(workers: Sequence[Deprived]) -> list[str]:
    """One line for each worker that others took much time from; none usually."""
    return [
        f"worker {one.worker_index} on {one.host or '-'}: {said}; "
        "latencies of this run hold such pauses"
        for one in workers
        if (said := contention_words(one))
    ]


def contention_words(worker: Deprived) -> str:
    """What was taken from one worker, empty if it is not worth a word."""
    said = []
    if (worker.stolen_share or 0) >= STOLEN_SHARE_TOLD:
        said.append(f"the hypervisor took {worker.stolen_share:.1%} of its processors' time")
    if (worker.waited_share or 0) >= WAITED_SHARE_TOLD:
        said.append(f"it waited {worker.waited_share:.1%} of the time for a processor")
    return " and ".join(said)
