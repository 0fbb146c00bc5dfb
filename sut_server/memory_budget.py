"""Bytes of requests that a server holds, over all its connections, against one limit.

Counts of calls bound nothing: a request may have 64 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_BYTES: Final = 1 << 30


@dataclass(slots=True)
class MemoryBudget:
    """``take`` before bytes are kept, ``release`` once they are not."""

    limit_bytes: int = DEFAULT_BYTES
    used_bytes: int = 0

    @property
    def refusal(self) -> str:
        """The line for a caller whose bytes are not taken."""
        mib = self.limit_bytes >> 20
        return f"the server holds {mib} MiB of unanswered requests (sut-server --memory-mib)"

    def take(self, size_bytes: int) -> bool:
        """Count bytes; False, and nothing is counted, where they would pass the limit."""
        if self.used_bytes + size_bytes > self.limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Bytes that were taken are not kept any longer."""
        self.used_bytes -= size_bytes
