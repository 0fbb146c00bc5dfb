"""The instants at which tokens really left, one JSON line a stream: what a client is judged by.

Kept in memory, written when the server ends. Instants are ns of this host's monotonic clock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sut_server.errors import UsageError


class TokenLog:
    """Finished streams in the order of their end."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError if the folder does not exist, before any load."""
        if not path.parent.is_dir():
            raise UsageError(f"--token-log {path}: there is no folder {path.parent}")
        self._path = path
        self._streams: list[tuple[int, Sequence[int]]] = []

    def add(self, received_ns: int, sent_ns: Sequence[int]) -> None:
        """A stream ended well: when its request was read, and when each token was written."""
        self._streams.append((received_ns, sent_ns))

    def write(self) -> None:
        """Write ``{"received_ns": N, "sent_ns": [N, ...]}`` lines."""
        unfinished = self._path.with_name(self._path.name + ".part")
        with unfinished.open("w", encoding="utf-8") as file:
            for received_ns, sent_ns in self._streams:
                line = {"received_ns": received_ns, "sent_ns": list(sent_ns)}
                file.write(json.dumps(line) + "\n")
        os.replace(unfinished, self._path)
