"""How a worker waits for an instant: a timerfd on the loop, or polling.

uvloop's own timers tick in milliseconds, so neither policy uses them. Instants are absolute on the
monotonic clock.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import UserError

SPIN_NS: Final = 10_000
"""Polling stays in its loop when the instant is this near: answers then wait that long at most."""

SHARED_NS: Final = 30_000
"""Giving way took longer: others had the processor, perhaps the very peer that is waited for."""

SKIPPED_COUNT: Final = 8
"""Waits that sleep to their very end after such a turn: on a shared processor nearly all do."""

NEAR_NS: Final = 25_000
"""To set a timer, sleep and be woken takes about as long on a virtual machine."""

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_TFD_BYTES: Final = 8
_NEVER: Final = 1 << 62


class Waiter(Protocol):
    """Calls ``wake`` at the instant last asked for. One instant at a time."""

    def arm(self, at_ns: int | None) -> None:
        """Wake at this instant (in the past: as soon as possible); None: not at all."""

    def soon(self) -> None:
        """Wake once more after the sockets have been looked at."""

    def close(self) -> None:
        """No more waking."""


class TimerfdWaiter:
    """A kernel timer with nanosecond deadlines whose descriptor the loop watches.

    It is set NEAR_NS early, and the rest is waited for awake, in turns of the loop that give way to
    others. Where others then keep the processor, a timer set to the very instant is better: being
    woken, we get it back.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        clock: Callable[[], int] = time.monotonic_ns,
        give_way: Callable[[], object] = os.sched_yield,
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._clock = clock
        self._give_way = give_way
        # PyDLL keeps the interpreter's lock: setting a timer never blocks, and releasing the lock
        # would invite another thread in at the worst moment.
        libc = ctypes.PyDLL(None, use_errno=True)
        try:
            self._set_time = libc.timerfd_settime
            self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:
            raise UserError("wait_policy: timerfd needs Linux; use --wait-policy poll") from None
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = (ctypes.c_int64 * 4)()  # struct itimerspec: interval, then value
        self._spec_pointer = ctypes.byref(self._spec)
        self._at_ns = _NEVER
        self._is_turning = False
        self._skip_count = 0
        loop.add_reader(self._fd, self._fired)

    def arm(self, at_ns: int | None) -> None:
        if at_ns is None or self._fd < 0:
            self._at_ns = _NEVER  # a timer that is set fires for nobody, once
            return
        if at_ns == self._at_ns:
            return
        self._at_ns = at_ns
        left_ns = at_ns - self._clock()
        early_ns = NEAR_NS
        if self._skip_count and left_ns > 0:
            self._skip_count -= 1
            early_ns = 0
        if left_ns > early_ns:
            self._set(at_ns - early_ns)
        elif not self._is_turning:
            self._is_turning = True
            self._loop.call_soon(self._turn)

    def _set(self, at_ns: int) -> None:
        spec = self._spec
        spec[2], spec[3] = divmod(at_ns, NS_PER_S)
        self._set_time(self._fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None)

    def _turn(self) -> None:
        now_ns = self._clock()
        left_ns = self._at_ns - now_ns
        if left_ns > NEAR_NS:  # another instant since, or none
            self._is_turning = False
        elif left_ns <= 0:
            self._is_turning = False
            self._at_ns = _NEVER  # so that the same instant may be asked for again
            self._wake()
        else:
            self._give_way()
            if self._clock() - now_ns > SHARED_NS:
                self._skip_count = SKIPPED_COUNT
            self._loop.call_soon(self._turn)

    def soon(self) -> None:
        self._loop.call_soon(self._wake)

    def _fired(self) -> None:
        try:
            os.read(self._fd, _TFD_BYTES)  # an expired timer stays readable until it is read or set
        except BlockingIOError:
            return
        if self._is_turning:
            return
        self._is_turning = True
        self._turn()

    def close(self) -> None:
        self._at_ns = _NEVER
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class PollWaiter:
    """Looks at the clock in every turn of the loop, which then never sleeps."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._clock = clock
        self._at_ns: int | None = None
        self._soon = False
        self._handle = loop.call_soon(self._turn)

    def arm(self, at_ns: int | None) -> None:
        self._at_ns = at_ns

    def soon(self) -> None:
        self._soon = True

    def _turn(self) -> None:
        self._handle = self._loop.call_soon(self._turn)
        if self._soon:
            self._soon = False
            self._wake()
            return
        at_ns = self._at_ns
        if at_ns is None:
            return
        clock = self._clock
        if at_ns - clock() <= SPIN_NS:
            while clock() < at_ns:
                pass
            self._at_ns = None
            self._wake()

    def close(self) -> None:
        self._handle.cancel()


def make_waiter(
    policy: Literal["timerfd", "poll"],
    loop: asyncio.AbstractEventLoop,
    wake: Callable[[], None],
) -> Waiter:
    """The waiter that a setting names."""
    return PollWaiter(loop, wake) if policy == "poll" else TimerfdWaiter(loop, wake)
