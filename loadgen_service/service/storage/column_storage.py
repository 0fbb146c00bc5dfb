"""Where the columns of a series live while it is finished: in memory, or where they fit.

A run of a hundred million requests has ten GB of them. Where memory is short they go to unnamed
files beside the run's own, which the kernel reads and writes back as it needs.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.records.request_table import Make

FINISHING_BYTES: Final = 100
"""Memory a request takes at the peak of finishing (bench/finish_memory.py), columns included."""

ROOM_SHARE: Final = 2
"""One part in so many of the free memory may be taken: the report and others want some too."""

_PLENTY: Final = 1 << 62
"""Where the kernel does not say."""

_LIMIT_FILE: Final = "memory.max"


def column_maker(directory: Path, free_bytes: int) -> Make:
    """Makes arrays for a series of any length; those of a long one in files in ``directory``."""

    def make(count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        if count * FINISHING_BYTES <= free_bytes // ROOM_SHARE:
            return np.empty(count, dtype)
        try:
            return _in_file(directory, count, np.dtype(dtype))
        except OSError:  # no room there either: memory is the better chance
            return np.empty(count, dtype)

    return make


def _in_file(directory: Path, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    with tempfile.TemporaryFile(dir=directory) as file:
        size = count * dtype.itemsize
        os.posix_fallocate(file.fileno(), 0, size)  # a full disk is met here, not by a SIGBUS later
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype, count)


def free_memory_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What may still be allocated: what the kernel calls available, and what every control group
    (version 2) above this process leaves."""
    lines = (proc / "meminfo").read_text().splitlines()
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    free = [int(known["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in known else [_PLENTY]
    named = [line[3:] for line in _text(proc / "self" / "cgroup").splitlines() if line[:3] == "0::"]
    group = groups / "".join(named).lstrip("/")
    for one in (group, *group.parents):
        limit = _text(one / _LIMIT_FILE).strip()
        if limit.isdecimal():
            free.append(max(0, int(limit) - _held_bytes(one)))
        if one == groups:
            break
    return min(free)


def _held_bytes(group: Path) -> int:
    """Memory of a group that cannot be had back by dropping caches."""
    stat = dict(line.split() for line in _text(group / "memory.stat").splitlines())
    return int(stat.get("anon", 0))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
