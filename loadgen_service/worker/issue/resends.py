"""Requests that a SUT has certainly not processed: they are sent again, as gRPC's clients do.

HTTP/2 says it of a stream above GOAWAY's last one, and of one reset with REFUSED_STREAM (RFC 9113
8.7). Nothing else is ever sent twice. A request keeps the deadline of its first sending.
"""

from __future__ import annotations

from loadgen_service.sut.interface import ISSUED, TAKEN, Cell
from loadgen_service.worker.issue.issuer import Issuer


class Resends:
    """What is to be sent again. ``pending``: the cell of each open request, by position."""

    __slots__ = ("_issuer", "_pending", "_refused", "count", "first_issued_ns")

    def __init__(self, issuer: Issuer, pending: dict[int, Cell]) -> None:
        self._issuer = issuer
        self._pending = pending
        self._refused: list[int] = []
        self.first_issued_ns: dict[int, int] = {}
        """Of open requests that were sent again: when they left first."""
        self.count = 0
        """Requests sent again, each time they were."""

    def note(self, key: int) -> None:
        """A SUT says that it has not processed the request."""
        self._refused.append(key)

    def send(self) -> None:
        """Hand over again what was noted, unless it was given up meanwhile."""
        if not self._refused:
            return
        keys, self._refused = self._refused, []
        for key in keys:
            cell = self._pending.get(key)
            if cell is not None:
                self.first_issued_ns.setdefault(key, cell[ISSUED])
                self._pending[key] = self._issuer.issue_again(key, cell[TAKEN])
                self.count += 1

    def forget(self, key: int) -> None:
        """The request has ended."""
        self.first_issued_ns.pop(key, None)
