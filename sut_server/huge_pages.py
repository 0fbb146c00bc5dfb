"""Huge pages for the memory that models compute in, where the kernel has them to give.

A model's weights and what it computes between its layers are some hundred megabytes that every
batch goes through. In pages of 4 KiB a good part of the time goes into finding where they lie,
above all on a virtual machine, whose host looks every one of them up as well. Where the kernel's
``transparent_hugepage`` is ``madvise``, a process gets huge pages only if it asks for them, and
model runtimes do not. So it is asked for here, once the first batch has filled the memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

REGION_BYTES_MIN: Final = 4 << 20
"""Smaller regions are few huge pages, or none."""

RESIDENT_SHARE_MIN: Final = 0.5
"""So much of a region must be in use, as of no thread's stack: a huge page is resident whole."""

_PAGE_BYTES_AT: Final = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_SMAPS: Final = Path("/proc/self/smaps")
_MADV_HUGEPAGE: Final = 14
_MADV_COLLAPSE: Final = 25  # Linux 6.1; before, the kernel does it by itself, within minutes

Advise = Callable[[int, int, int], object]
"""madvise(2): address, bytes, advice."""


class Region(NamedTuple):
    """Private memory that belongs to no file, from ``start`` to before ``stop``."""

    start: int
    stop: int
    resident_bytes: int


def take_huge_pages() -> int:
    """Ask for huge pages where this process holds much memory; returns for how many bytes.

    0 where the system has none, or does not say what memory a process holds.
    """
    try:
        page_bytes = int(_PAGE_BYTES_AT.read_text())
        smaps = _SMAPS.read_text()
        madvise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, ValueError):
        return 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return advise_regions(regions_of(smaps), page_bytes, madvise)


def advise_regions(regions: list[Region], page_bytes: int, madvise: Advise) -> int:
    """Ask for all whole huge pages in large regions that are in use; returns their bytes.

    What the kernel answers changes nothing: the memory stays as it was where it has no pages.
    """
    asked_bytes = 0
    for region in regions:
        size_bytes = region.stop - region.start
        first = -(-region.start // page_bytes) * page_bytes
        length = region.stop // page_bytes * page_bytes - first
        is_used = region.resident_bytes >= RESIDENT_SHARE_MIN * size_bytes
        if size_bytes >= REGION_BYTES_MIN and is_used and length > 0:
            madvise(first, length, _MADV_HUGEPAGE)
            madvise(first, length, _MADV_COLLAPSE)
            asked_bytes += length
    return asked_bytes


def regions_of(smaps: str) -> list[Region]:
    """Read ``/proc/<pid>/smaps`` (proc_pid_smaps(5))."""
    found: list[Region] = []
    bounds: tuple[int, int] | None = None
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            bounds = _bounds(words)
        elif words[0] == "Rss:" and bounds is not None:
            found.append(Region(*bounds, int(words[1]) << 10))
    return found


def _bounds(words: list[str]) -> tuple[int, int] | None:
    """From a line ``start-stop rights offset device inode [name]``; None for other memory."""
    span, rights, _, _, inode, *name = words
    if not rights.startswith("rw-p") or inode != "0" or name not in ([], ["[heap]"]):
        return None
    start, stop = span.split("-")
    return int(start, 16), int(stop, 16)
