"""Keeps the arenas' folder within a limit: what was not used for longest goes first.

An arena that a process has mapped stays readable to it after its name is gone, so trimming harms
no run; and what was used within the hour is left alone, since a run may be about to map it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen_service.errors import UserError

LIMIT_VARIABLE: Final = "LOADGEN_CACHE_MAX_BYTES"
"""Environment variable that sets another limit; 0 is no limit and no age."""

ARENAS_BYTES_MAX: Final = 20 << 30
"""Four thousand loaded samples of 224 x 224 x 3 floats take 2.4 GB: some eight such data sets."""

UNUSED_S_MAX: Final = 30 * 24 * 3600
IN_USE_S: Final = 3600
"""Younger use than this protects an arena, or a file that is being written."""


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    size_bytes: int
    used_s: float


def mark_used(path: Path) -> None:
    """Note that an arena is wanted now. Does nothing where the file may not be touched."""
    with contextlib.suppress(OSError):
        os.utime(path)


def limit_bytes() -> int:
    """The limit on all arenas together. Raises UserError for a value that is no count of bytes."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return ARENAS_BYTES_MAX
    if not text.isdecimal():
        raise UserError(f"{LIMIT_VARIABLE}: {text!r} is no count of bytes; 0 is no limit")
    return int(text)


def trim_arenas(folder: Path, wanted: Path, now_s: float | None = None) -> list[Path]:
    """Remove what is too old or too much; the removed arenas, in order. ``wanted`` stays.

    Best effort: a file that another user owns is left, and so may be the limit.
    """
    limit = limit_bytes()
    if not limit:
        return []
    now_s = time.time() if now_s is None else now_s
    kept = sorted(_arenas(folder), key=lambda arena: arena.used_s)
    total = sum(arena.size_bytes for arena in kept)
    removed = []
    for arena in kept:
        unused_s = now_s - arena.used_s
        if arena.path == wanted or unused_s < IN_USE_S:
            continue
        if (total > limit or unused_s > UNUSED_S_MAX) and _remove(arena.path):
            total -= arena.size_bytes
            removed.append(arena.path)
    _sweep(folder, now_s, bool(removed))
    return removed


def _arenas(folder: Path) -> list[_Kept]:
    found = []
    for path in folder.glob("*.arena"):
        with contextlib.suppress(OSError):  # removed beside us
            facts = path.stat()
            found.append(_Kept(path, facts.st_size, facts.st_mtime))
    return found


def _sweep(folder: Path, now_s: float, has_removed: bool) -> None:
    """Remove what writers that were killed left behind, and notes of arenas that are gone."""
    for path in [*folder.glob(".new-*"), *(folder / "made").glob(".new-*")]:
        with contextlib.suppress(OSError):
            if now_s - path.stat().st_mtime > UNUSED_S_MAX:
                path.unlink()
    if not has_removed:
        return
    for note in (folder / "made").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content_hash = json.loads(note.read_bytes())["content_hash"]
            if not (folder / f"{content_hash}.arena").exists():
                note.unlink()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
