"""Waiting to an absolute instant, to some tens of microseconds.

uvloop's timers count whole milliseconds, too coarse for a synthetic service time of 300 us; a
Linux timerfd on the loop does not. Decides nothing about what happens at the instant.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import os
import sys
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1
_NS_PER_S: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerFd:
    """A Linux timer on CLOCK_MONOTONIC that is a file descriptor (Python has one from 3.13 on)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fileno = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self.fileno < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def set(self, deadline_ns: int) -> None:
        """Become readable at an instant of ``time.monotonic_ns``; at once if it has passed."""
        seconds, nanoseconds = divmod(max(1, deadline_ns), _NS_PER_S)
        spec = _Itimerspec(value=_Timespec(seconds, nanoseconds))
        flags = _TFD_TIMER_ABSTIME
        if self._libc.timerfd_settime(self.fileno, flags, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def clear(self) -> None:
        """Read the count of expirations, so that the descriptor is no longer readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fileno, 8)

    def close(self) -> None:
        os.close(self.fileno)


class Alarms:
    """Calls back at absolute instants of one clock, on the running event loop.

    Callbacks take the instant at which the loop woke. Close it before the loop ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock_ns: Callable[[], int]) -> None:
        self._loop = loop
        self._clock_ns = clock_ns
        self._heap: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0
        self._armed_ns: int | None = None
        self._timer = TimerFd() if sys.platform == "linux" else None
        if self._timer is not None:
            loop.add_reader(self._timer.fileno, self._wake)

    def at(self, deadline_ns: int, call: Callable[[int], None]) -> None:
        """Call ``call(now_ns)`` soon after ``deadline_ns``; equal instants in the order asked."""
        self._count += 1
        heapq.heappush(self._heap, (deadline_ns, self._count, call))
        if self._armed_ns is None or deadline_ns < self._armed_ns:
            self._arm()

    def close(self) -> None:
        """Forget every alarm."""
        self._heap.clear()
        if self._timer is not None:
            self._loop.remove_reader(self._timer.fileno)
            self._timer.close()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.clear()
        now_ns = self._clock_ns()
        heap = self._heap
        try:
            while heap and heap[0][0] <= now_ns:
                heapq.heappop(heap)[2](now_ns)
        finally:
            self._armed_ns = None
            self._arm()

    def _arm(self) -> None:
        if not self._heap:
            return
        self._armed_ns = self._heap[0][0]
        if self._timer is not None:
            self._timer.set(self._armed_ns)
        else:
            delay_s = max(0, self._armed_ns - self._clock_ns()) / _NS_PER_S
            self._loop.call_later(delay_s, self._wake)
