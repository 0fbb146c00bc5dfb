"""Notes on requests that were sent again because a SUT had certainly not processed them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Resending(Protocol):
    """A worker's part in a series, as facts or as summary."""

    @property
    def resent_count(self) -> int: ...


def resent_notes(workers: Iterable[Resending]) -> list[str]:
    """One line where requests were sent again; none usually."""
    count = sum(worker.resent_count for worker in workers)
    if not count:
        return []
    requests = "1 request was" if count == 1 else f"{count:,} requests were"
    return [
        f"{requests} sent again: the SUT or a proxy ended the connection or refused the "
        "stream without processing it; latencies count from the scheduled instant"
    ]
