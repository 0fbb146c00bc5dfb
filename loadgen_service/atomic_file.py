"""A file that appears whole or not at all: written beside its place, flushed, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` make a temporary file in the folder of ``path``, and rename it to ``path``.

    Its bytes are on disk before the rename, so that a crash leaves the old file or the new one.
    Raises what ``write`` raises, and OSError where the disk refuses; then nothing is left.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return path
