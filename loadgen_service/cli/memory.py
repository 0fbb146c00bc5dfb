"""Batches of records come and go by the hundred a second, a quarter of a megabyte each."""

from __future__ import annotations

from typing import Final

KEPT_BYTES: Final = 128 << 20
"""Room for the arrays of a finished run too, which are made and dropped a piece at a time."""


def keep_batch_memory() -> None:
    """Use the memory of one batch for the next, for as long as this process lives."""
    from host_tuning.malloc import keep_freed_memory

    keep_freed_memory(KEPT_BYTES)
