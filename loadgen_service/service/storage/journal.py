"""The journal of a run: one JSON line a fact, durable before anything is built upon it.

With the segments beside it, it is all that is needed to make the results after the service died.
Every line carries its number and a digest of itself, and stands in two files: a damaged one is read
from the copy, and named. A line without its digest is never believed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

JOURNAL_NAME = "journal.jsonl"
COPY_NAME: Final = "journal.copy.jsonl"

_NUMBER: Final = "entry_index"
_CHECK: Final = b', "check": "'
_DIGEST_CHARACTERS: Final = 16
_TAIL_BYTES: Final = len(_CHECK) + _DIGEST_CHARACTERS + len(b'"}')

Entry = dict[str, Any]


class Journal:
    """Appends entries to both journal files of a run directory."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._next = -1
        run_directory.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields: Any) -> None:
        """Append one entry and wait until it is on the disk. Raises OSError."""
        if self._next < 0:
            self._next = _resume(self._directory)
        line = sealed_line(self._next, {"event": event, **fields})
        for name in (JOURNAL_NAME, COPY_NAME):
            with open(self._directory / name, "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self._next += 1


def sealed_line(number: int, entry: Entry) -> bytes:
    """One line of a journal: the entry, its number, and the digest of both."""
    body = json.dumps({**entry, _NUMBER: number}, sort_keys=True).encode()
    return body[:-1] + _CHECK + _digest(body) + b'"}\n'


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_DIGEST_CHARACTERS].encode()


def _opened(line: bytes) -> Entry | None:
    """The entry of a line, with its number; None unless its digest fits."""
    body, tail = line[:-_TAIL_BYTES] + b"}", line[-_TAIL_BYTES:]
    if tail != _CHECK + _digest(body) + b'"}':
        return None
    entry = json.loads(body)
    return entry if isinstance(entry, dict) and "event" in entry and _NUMBER in entry else None


class _File(NamedTuple):
    entries: dict[int, Entry]
    bad_lines: list[int]
    line_count: int

    @property
    def last_number(self) -> int:
        return max(self.entries, default=-1)


def _read(path: Path) -> _File:
    """Sound entries by number, and the numbers (from 1) of whole lines that are none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return _File({}, [], 0)
    entries: dict[int, Entry] = {}
    bad = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is torn
        entry = _opened(line)
        if entry is None:
            bad.append(number)
        else:
            entries.setdefault(entry.pop(_NUMBER), entry)
    return _File(entries, bad, len(lines) - 1)


def _resume(directory: Path) -> int:
    """Cut torn tails; the number of the next entry."""
    for name in (JOURNAL_NAME, COPY_NAME):
        path = directory / name
        if path.exists():
            content = path.read_bytes()
            os.truncate(path, content.rfind(b"\n") + 1)
    return 1 + max(_read(directory / name).last_number for name in (JOURNAL_NAME, COPY_NAME))


@dataclass(frozen=True, slots=True)
class JournalScan:
    """``entries``: all sound ones, in order. ``gaps``: damage that both files share, so that an
    entry is lost. ``notes``: damage that the other file made good."""

    entries: list[Entry]
    gaps: list[str]
    notes: list[str]


def scan_journal(run_directory: Path) -> JournalScan:
    """Both files joined; a torn last line is left out. Empty without a journal."""
    first, copy = _read(run_directory / JOURNAL_NAME), _read(run_directory / COPY_NAME)
    joined = {**copy.entries, **first.entries}
    lost = sorted(set(range(max(joined, default=-1) + 1)) - joined.keys())
    gaps = [f"{JOURNAL_NAME}: entry {number + 1} is damaged, and so is its copy" for number in lost]
    ends_badly = first.line_count > 0 and first.line_count in first.bad_lines
    if ends_badly and copy.last_number <= first.last_number:
        gaps.append(f"{JOURNAL_NAME}: its last line is damaged, and the copy has no other")
    notes = [
        f"{name}: damaged at line {', '.join(map(str, file.bad_lines))}; the other copy was used"
        for name, file in ((JOURNAL_NAME, first), (COPY_NAME, copy))
        if file.bad_lines and not gaps
    ]
    return JournalScan([joined[number] for number in sorted(joined)], gaps, notes)


def read_journal(run_directory: Path) -> list[Entry]:
    """The sound entries of a journal, in order; ``scan_journal`` names what is damaged."""
    return scan_journal(run_directory).entries


def entries_of(entries: list[Entry], event: str) -> list[Entry]:
    """The entries of one kind, in order."""
    return [entry for entry in entries if entry["event"] == event]
