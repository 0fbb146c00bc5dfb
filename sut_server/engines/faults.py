"""Faults on purpose, and the queue of a server with few places: a SUT whose tail is known.

Pure arithmetic on instants that the caller supplies; draws come from a seed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum
from random import Random


class Fate(Enum):
    """What becomes of one request."""

    ANSWER = "answer"
    ERROR = "error"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Shares of requests that fail or are never answered, and one stall of the whole server.

    The stall begins ``stall_at_ns`` after the first request and lasts ``stall_ns``; 0 is no stall.
    """

    error_rate: float = 0.0
    drop_rate: float = 0.0
    stall_at_ns: int = 0
    stall_ns: int = 0


class Fates:
    """Draws one fate a request, apart from the service times, so that faults do not shift them."""

    def __init__(self, plan: FaultPlan, seed: int) -> None:
        self._plan = plan
        self._random = Random(f"faults {seed}").random
        self._has_faults = plan.error_rate > 0 or plan.drop_rate > 0

    def draw(self) -> Fate:
        """The fate of the next request."""
        if not self._has_faults:
            return Fate.ANSWER
        uniform = self._random()
        if uniform < self._plan.drop_rate:
            return Fate.DROP
        if uniform < self._plan.drop_rate + self._plan.error_rate:
            return Fate.ERROR
        return Fate.ANSWER


class Places:
    """The places of a server that serves ``limit`` requests at a time (0: any number).

    Requests take places in the order of arrival. In a stall nothing moves: work begun before it
    ends later by its whole length, and work that would begin inside it begins at its end.
    """

    def __init__(self, limit: int, plan: FaultPlan) -> None:
        self._free_ns = [0] * limit
        self._plan = plan
        self._stall: tuple[int, int] | None = None

    def take(self, received_ns: int, service_ns: int) -> tuple[int, int]:
        """Instants at which a request received now starts and ends."""
        if self._stall is None:
            begin_ns = received_ns + self._plan.stall_at_ns
            self._stall = (begin_ns, begin_ns + self._plan.stall_ns)
        start_ns = max(received_ns, self._free_ns[0]) if self._free_ns else received_ns
        start_ns, end_ns = _through_stall(start_ns, service_ns, *self._stall)
        if self._free_ns:
            heapq.heapreplace(self._free_ns, end_ns)
        return start_ns, end_ns

    def through_stall(self, start_ns: int, offset_ns: int) -> int:
        """The instant ``offset_ns`` into work that a place let start at ``start_ns``."""
        assert self._stall is not None, "take a place first"
        return _through_stall(start_ns, offset_ns, *self._stall)[1]


def _through_stall(start_ns: int, service_ns: int, begin_ns: int, stop_ns: int) -> tuple[int, int]:
    if begin_ns <= start_ns < stop_ns:
        return stop_ns, stop_ns + service_ns
    end_ns = start_ns + service_ns
    if start_ns < begin_ns < end_ns:
        end_ns += stop_ns - begin_ns
    return start_ns, end_ns
