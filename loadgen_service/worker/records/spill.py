"""A run's folder of record blocks, and the removal of folders whose worker was killed.

The owner holds a lock on a file in its folder as long as it lives, so a folder whose lock is free
belongs to nobody, whatever the process ids say (containers may share the folder, not the ids).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from loadgen_service.errors import RunError

PREFIX: Final = "loadgen-spill-"
_LOCK: Final = "lock"
_NEW_LOCK: Final = "lock.new"


class SpillFolder:
    """A fresh folder below ``parent``; folders left there by killed workers go first."""

    def __init__(self, parent: Path) -> None:
        remove_abandoned(parent)
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            self._lock = _locked_file(self.path)
        except OSError as error:
            raise RunError(
                f"spill directory: cannot write {parent} ({error.strerror}); name another with "
                "--spill-dir"
            ) from None

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _locked_file(folder: Path) -> int:
    """A lock that is held when its name appears: a worker that starts now may look at any time."""
    lock = os.open(folder / _NEW_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / _NEW_LOCK).rename(folder / _LOCK)
    return lock


def remove_abandoned(parent: Path) -> int:
    """Remove folders whose owner is gone; how many there were."""
    count = 0
    for folder in parent.glob(PREFIX + "*"):
        # A folder without its lock is about to get one: it is left alone.
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
            finally:
                os.close(lock)
    return count
