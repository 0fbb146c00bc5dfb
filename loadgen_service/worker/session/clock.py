"""Offset between two hosts' monotonic clocks, from pings.

Pure: whoever sends the pings reads the clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One exchange: ours at send and return, theirs in between (ns)."""

    sent_ns: int
    received_ns: int
    replied_ns: int
    returned_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Time on the way, without the peer's own."""
        return (self.returned_ns - self.sent_ns) - (self.replied_ns - self.received_ns)

    @property
    def offset_ns(self) -> int:
        """Peer's clock less ours, if both ways took equally long."""
        return ((self.received_ns - self.sent_ns) + (self.replied_ns - self.returned_ns)) // 2


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """``offset_ns``: peer's clock less ours; true within ``error_ns`` at ``measured_at_ns``."""

    offset_ns: int
    error_ns: int
    measured_at_ns: int


def estimate_offset(samples: Sequence[ClockSample]) -> OffsetEstimate:
    """The offset of the exchange with the shortest round trip; its error is half of that.

    However unequal the two ways are, the true offset lies within half a round trip; so the
    shortest exchange bounds it best, and averaging the others could only add their queues.
    """
    if not samples:
        raise ValueError("no clock exchange to judge")
    best = min(samples, key=lambda sample: sample.round_trip_ns)
    return OffsetEstimate(
        offset_ns=best.offset_ns,
        error_ns=max(1, (best.round_trip_ns + 1) // 2),
        measured_at_ns=best.returned_ns,
    )
