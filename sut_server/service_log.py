"""The service times that were really served, one int64 of nanoseconds an answer, for comparison
with what a load generator measured. Kept in memory, written when the server ends."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import numpy as np

from sut_server.errors import UsageError


class ServiceLog:
    """Times from receipt of a request to the sending of its answer, in order of answering."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError if the folder does not exist, before any load."""
        if not path.parent.is_dir():
            raise UsageError(f"--service-log {path}: there is no folder {path.parent}")
        self._path = path
        self._served_ns = array("q")

    def add(self, served_ns: int) -> None:
        self._served_ns.append(served_ns)

    def write(self) -> None:
        """Write all times: a numpy array if the name ends in .npy, else a number a line."""
        column = np.frombuffer(self._served_ns, dtype=np.int64)
        unfinished = self._path.with_name(self._path.name + ".part")
        with unfinished.open("wb") as file:
            if self._path.suffix == ".npy":
                np.save(file, column)
            else:
                np.savetxt(file, column, fmt="%d")
        os.replace(unfinished, self._path)
