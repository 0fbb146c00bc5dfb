"""Faults on purpose, and the queue of a server with few slots: a SUT whose tail is known.

Arithmetic on instants that the caller supplies; draws come from a seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random
from typing import Protocol


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


Begin = Callable[[int, int], None]
"""Called with the instants at which a request's work starts and ends."""


class AlarmClock(Protocol):
    """What calls back at instants (``sut_server.alarms``)."""

    def at(self, deadline_ns: int, call: Callable[[int], None]) -> None: ...


def _nothing(start_ns: int, end_ns: int) -> None:
    """In place of what has begun, or never will."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request's turn at a slot."""

    received_ns: int
    service_ns: int
    begin: Begin
    is_waiting: bool = True

    def cancel(self) -> bool:
        """Its caller has gone: True if its work had not begun and now never will."""
        was_waiting, self.is_waiting = self.is_waiting, False
        self.begin = _nothing  # which holds the request
        return was_waiting


class Slots:
    """The slots of a server that serves ``limit`` requests at a time (0: any number).

    Requests take slots in the order of arrival; one whose caller goes while it waits takes none. In
    a stall nothing moves: work begun before it ends later by its whole length, and work that would
    begin inside it begins at its end. Instants are exact, however late the alarms are.
    """

    def __init__(self, limit: int, plan: FaultPlan, alarms: AlarmClock) -> None:
        self._limit = limit
        self._busy_count = 0
        self._waiting: deque[Ticket] = deque()
        self._plan = plan
        self._alarms = alarms
        self._stall: tuple[int, int] | None = None

    def take(self, received_ns: int, service_ns: int, begin: Begin) -> Ticket:
        """Call ``begin`` once a slot is free, at once if one is."""
        if self._stall is None:
            begin_ns = received_ns + self._plan.stall_at_ns
            self._stall = (begin_ns, begin_ns + self._plan.stall_ns)
        ticket = Ticket(received_ns, service_ns, begin)
        if self._limit and self._busy_count >= self._limit:
            self._waiting.append(ticket)
        else:
            self._start(ticket, received_ns)
        return ticket

    def through_stall(self, start_ns: int, offset_ns: int) -> int:
        """The instant ``offset_ns`` into work that a slot let start at ``start_ns``."""
        assert self._stall is not None, "take a slot first"
        return _through_stall(start_ns, offset_ns, *self._stall)[1]

    def _start(self, ticket: Ticket, at_ns: int) -> None:
        assert self._stall is not None
        start_ns, end_ns = _through_stall(at_ns, ticket.service_ns, *self._stall)
        begin = ticket.begin
        ticket.cancel()
        self._busy_count += 1
        begin(start_ns, end_ns)
        if self._limit:
            self._alarms.at(end_ns, partial(self._free, end_ns))

    def _free(self, end_ns: int, now_ns: int) -> None:
        """A slot became free at ``end_ns``, and the alarm for it rings now."""
        self._busy_count -= 1
        while self._waiting:
            ticket = self._waiting.popleft()
            if ticket.is_waiting:
                self._start(ticket, max(ticket.received_ns, end_ns))
                return


def _through_stall(start_ns: int, service_ns: int, begin_ns: int, stop_ns: int) -> tuple[int, int]:
    if begin_ns <= start_ns < stop_ns:
        return stop_ns, stop_ns + service_ns
    end_ns = start_ns + service_ns
    if start_ns < begin_ns < end_ns:
        end_ns += stop_ns - begin_ns
    return start_ns, end_ns
