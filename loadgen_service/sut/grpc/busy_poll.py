"""Waiting for a SUT's answer without sleeping, on the worker's event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from host_tuning.busy_poll import SHARED_NS, SKIPPED_COUNT, BusyPoll

__all__ = ["SHARED_NS", "SKIPPED_COUNT", "awake_on"]


def awake_on(loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
    """Keeps ``loop`` awake until the instant (monotonic ns) that it is called with, unless others
    want the processor."""
    return BusyPoll(loop.call_soon, time.monotonic_ns, os.sched_yield).until
