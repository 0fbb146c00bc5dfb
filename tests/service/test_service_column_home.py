"""Columns of a series that is finished: in memory where they fit, else in files."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from loadgen_service.service.storage.column_storage import (
    FINISHING_BYTES,
    ROOM_SHARE,
    column_maker,
    free_memory_bytes,
)

COUNT = 5_000
ENOUGH_BYTES = COUNT * FINISHING_BYTES * ROOM_SHARE
INT64 = np.dtype(np.int64)


def is_in_file(array: np.ndarray) -> bool:
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview | mmap.mmap)


def test_where_memory_is_short_columns_are_unnamed_files(tmp_path: Path) -> None:
    assert not is_in_file(column_maker(tmp_path, ENOUGH_BYTES)(COUNT, INT64))
    column = column_maker(tmp_path, ENOUGH_BYTES - ROOM_SHARE)(COUNT, INT64)
    assert is_in_file(column)
    column[:] = np.arange(COUNT)
    assert column.sum() == COUNT * (COUNT - 1) // 2
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_leaves_them_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    column = column_maker(tmp_path, 0)(COUNT, INT64)
    assert not is_in_file(column)
    assert len(column) == COUNT
    assert len(column_maker(tmp_path, 0)(0, INT64)) == 0


def host(root: Path, groups: dict[str, tuple[str, int]], own: str = "/a/b") -> int:
    """Free memory of a host with a gigabyte, and groups with a limit and what they hold."""
    proc, mounted = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1048576 kB\n")
    (proc / "self" / "cgroup").write_text(f"1:name=old:/x\n0::{own}\n")
    for name, (limit, held) in groups.items():
        folder = mounted / name.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.stat").write_text(f"anon {held}\nfile 999999\n")
    return free_memory_bytes(proc, mounted)


@pytest.mark.parametrize(
    ("groups", "free"),
    [
        ({}, 1 << 30),
        ({"/a/b": ("max", 0)}, 1 << 30),
        ({"/a/b": ("1000", 300)}, 700),
        ({"/a": ("500", 100), "/a/b": ("1000", 300)}, 400),
        ({"/": ("200", 300), "/a/b": ("1000", 300)}, 0),
        ({"/other": ("1", 0)}, 1 << 30),
    ],
)
def test_free_memory_is_the_least_that_any_group_above_leaves(
    tmp_path: Path, groups: dict[str, tuple[str, int]], free: int
) -> None:
    assert host(tmp_path, groups) == free


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert host(tmp_path, {"/": ("1000", 10)}, own="/") == 990


def test_this_host_says_how_much_is_free() -> None:
    assert free_memory_bytes() > 0
