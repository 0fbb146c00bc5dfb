"""One process at a time in a run directory: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

LOCK_NAME: Final = ".lock"


class RunLock:
    """A held lock. The file is removed on release; a killed holder leaves it, unlocked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others in. May be called twice."""
        if self._descriptor < 0:
            return
        self._path.unlink(missing_ok=True)  # while it is held: nobody else can mean this file
        os.close(self._descriptor)
        self._descriptor = -1


def take_lock(folder: Path) -> RunLock | None:
    """The lock of an existing folder; None where another holder lives. Raises OSError."""
    path = folder / LOCK_NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return RunLock(path, descriptor)
        os.close(descriptor)  # its last holder removed the file meanwhile: take the new one
