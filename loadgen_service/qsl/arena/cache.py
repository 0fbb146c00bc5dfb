"""Where preprocessed samples are kept, and how a file appears there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from loadgen_service.errors import RunError, UserError

CACHE_VARIABLE: Final = "LOADGEN_CACHE"
"""Environment variable that moves the cache away from ``~/.cache/loadgen``."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def arena_directory(cache_dir: Path | None = None) -> Path:
    """Folder of the arenas: under ``cache_dir``, else $LOADGEN_CACHE, else ``~/.cache/loadgen``."""
    if cache_dir is None:
        root = os.environ.get(CACHE_VARIABLE)
        cache_dir = Path(root) if root else Path.home() / ".cache" / "loadgen"
    return cache_dir / "arenas"


@contextlib.contextmanager
def new_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file in ``folder``, removed on the way out unless it was renamed.

    Raises RunError if the disk is full and UserError if the folder cannot be written.
    """
    with named_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def named_disk_errors(folder: Path) -> Iterator[None]:
    """Turns the operating system's errors about ``folder`` into ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = f"set {CACHE_VARIABLE} to another folder"
        if error.errno in _FULL:
            raise RunError(
                f"no space left for samples in {folder}: free some, or {remedy}"
            ) from error
        raise UserError(f"cannot keep samples in {folder}: {reason}; {remedy}") from error
