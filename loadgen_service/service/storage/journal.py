"""The journal of a run: one JSON line a fact, durable before anything is built upon it.

With the segments beside it, it is all that is needed to make the results after the service died.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

JOURNAL_NAME = "journal.jsonl"

Entry = dict[str, Any]


class Journal:
    """Appends entries to ``journal.jsonl`` of a run directory."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / JOURNAL_NAME
        run_directory.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields: Any) -> None:
        """Append one entry and wait until it is on the disk. Raises OSError."""
        line = json.dumps({"event": event, **fields}, sort_keys=True) + "\n"
        with open(self._path, "ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def read_journal(run_directory: Path) -> list[Entry]:
    """All whole entries in order; a torn last line is left out. Empty without a journal."""
    try:
        lines = (run_directory / JOURNAL_NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines[:-1]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(entry, dict) or "event" not in entry:
            break  # a disk's garbage; what follows it is not trusted either
        entries.append(entry)
    return entries


def entries_of(entries: list[Entry], event: str) -> list[Entry]:
    """The entries of one kind, in order."""
    return [entry for entry in entries if entry["event"] == event]
