"""When Python's cyclic garbage collector may run: never in the way of a due request.

A full collection walks every object of the process, milliseconds at a time. What exists before a
series is frozen; while it runs, the collector only clears the youngest objects, in a quiet moment
or when so many gathered that memory would suffer.
"""

from __future__ import annotations

import gc
from typing import Final

QUIET_DEBT_COUNT: Final = 20_000
"""Objects worth clearing while nothing is due for ``QUIET_NS``: about a millisecond of work."""

FORCED_DEBT_COUNT: Final = 500_000
"""Objects (some 50 MB) that are cleared whatever is due: the bound of the debt."""

QUIET_NS: Final = 5_000_000


def must_collect(debt_count: int, quiet_ns: int) -> bool:
    """Whether to clear now. ``quiet_ns``: time until the next request is due."""
    if debt_count >= FORCED_DEBT_COUNT:
        return True
    return debt_count >= QUIET_DEBT_COUNT and quiet_ns >= QUIET_NS


def freeze() -> None:
    """Before a series: collect everything, then look at what is left no more."""
    gc.collect()
    gc.freeze()
    gc.disable()


def pay(quiet_ns: int) -> None:
    """During a series: clear the youngest objects if the rule above says so."""
    if must_collect(gc.get_count()[0], quiet_ns):
        gc.collect(0)


def thaw() -> None:
    """After a series."""
    gc.unfreeze()
    gc.enable()
