"""Runs token streams on the event loop: each token is handed out at its instant.

Knows no protocol: whoever asks for a stream says what to do with a token and with the end.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from sut_server.alarms import Alarms
from sut_server.engines.engine import ClockNs
from sut_server.engines.faults import Fate, Fates, FaultPlan, Slots, Ticket
from sut_server.engines.token_times import TokenTimes
from sut_server.token_log import TokenLog

OnToken = Callable[[int, bool], None]
"""Called with a token's number from 0 on, and whether it is the last."""


@dataclass(slots=True)
class RunningStream:
    """One stream; ``cancel`` when its caller has gone."""

    received_ns: int
    offsets_ns: list[int]
    on_token: OnToken
    on_error: Callable[[], None]
    start_ns: int = 0
    ticket: Ticket | None = None
    alive: bool = True
    sent_ns: array[int] = field(default_factory=lambda: array("q"))

    def cancel(self) -> None:
        """Hand out nothing more."""
        self.alive = False
        if self.ticket is not None:
            self.ticket.cancel()

    def fail(self) -> None:
        """An injected error, in place of the first token."""
        if self.alive:
            self.on_error()


class TokenSource:
    """Streams of one server: seeded counts and times, a limited number at a time, faults."""

    def __init__(
        self,
        times: TokenTimes,
        seed: int,
        concurrency_limit: int,
        faults: FaultPlan,
        alarms: Alarms,
        clock_ns: ClockNs,
        log: TokenLog | None = None,
    ) -> None:
        self._draws = times.draws(seed)
        self._fates = Fates(faults, seed)
        self._slots = Slots(concurrency_limit, faults, alarms)
        self._alarms = alarms
        self._clock_ns = clock_ns
        self._log = log

    def begin(
        self,
        received_ns: int,
        on_token: OnToken,
        on_error: Callable[[], None],
        max_count: int | None = None,
    ) -> RunningStream:
        """Start a stream of at most ``max_count`` tokens; ``on_error`` in place of the first."""
        offsets = next(self._draws)[:max_count]
        fate = self._fates.draw()
        stream = RunningStream(received_ns, offsets, on_token, on_error)
        begin = partial(self._begin, stream, fate)
        stream.ticket = self._slots.take(received_ns, offsets[-1], begin)
        return stream

    def _begin(self, stream: RunningStream, fate: Fate, start_ns: int, end_ns: int) -> None:
        stream.start_ns = start_ns
        first_ns = self._slots.through_stall(start_ns, stream.offsets_ns[0])
        if fate is Fate.ERROR:
            self._alarms.at(first_ns, lambda now_ns: stream.fail())
        elif fate is Fate.ANSWER:
            self._alarms.at(first_ns, partial(self._hand_out, stream))

    def _hand_out(self, stream: RunningStream, now_ns: int) -> None:
        if not stream.alive:
            return
        number = len(stream.sent_ns)
        stream.sent_ns.append(self._clock_ns())
        is_last = number + 1 == len(stream.offsets_ns)
        if is_last:
            stream.alive = False
            if self._log is not None:
                self._log.add(stream.received_ns, stream.sent_ns)
        stream.on_token(number, is_last)
        if not is_last:
            due_ns = self._slots.through_stall(stream.start_ns, stream.offsets_ns[number + 1])
            self._alarms.at(due_ns, partial(self._hand_out, stream))
