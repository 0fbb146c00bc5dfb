"""Run directories: their names, what lies in them, and files that appear whole or not at all.

One process at a time in a run directory: a lock that ends with the process that holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen_service.atomic_file import atomic_write
from loadgen_service.checksums import SUMMED_FILES, SUMS_FILE, file_sums, sums_text, text_sum
from loadgen_service.core.summary.mixed import MIXED_FILE
from loadgen_service.errors import RunError, UserError
from loadgen_service.service.storage.journal import (
    COPY_NAME,
    JOURNAL_NAME,
    entries_of,
    scan_journal,
)
from loadgen_service.service.storage.segments import DAMAGED_SUFFIX

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


STREAMS_FOLDER = "streams"
"""Below a mixed run's directory: a run directory for each stream, by its name."""

RESULT_FILES = (SUMS_FILE, *SUMMED_FILES, JOURNAL_NAME)


def new_run_id() -> str:
    """Eight hexadecimal characters; unique enough for one folder of results."""
    return secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run. Nothing is read or made until a method asks for it."""

    path: Path

    def series(self, series_index: int) -> Path:
        """Folder of one series."""
        return self.path / "series" / f"{series_index:02d}"

    def segment(self, series_index: int, worker_index: int) -> Path:
        """Batches of one worker in one series."""
        return self.series(series_index) / f"worker-{worker_index:04d}.seg"

    def segments(self, series_index: int, put_aside: bool = False) -> list[tuple[int, Path]]:
        """``(worker_index, path)`` of every segment of a series, by worker.

        ``put_aside``: those in which nothing could be read, instead.
        """
        suffix = ".seg" + (DAMAGED_SUFFIX if put_aside else "")
        found = sorted(self.series(series_index).glob(f"worker-*{suffix}"))
        return [(int(p.name.removeprefix("worker-").removesuffix(suffix)), p) for p in found]

    def write_whole(self, name: str, write: Callable[[Path], None]) -> Path:
        """Let ``write`` make a temporary file, then rename it to ``name``: whole or not at all.

        Raises RunError naming the file where the disk refuses.
        """
        target = self.path / name
        try:
            atomic_write(target, write)
        except OSError as error:
            raise RunError(
                f"{target}: {error.strerror or error}; free some space and try again"
            ) from None
        return target

    def write_text(self, name: str, text: str) -> Path:
        """Write one text file whole."""
        return self.write_whole(name, lambda path: _write_text(path, text))

    def write_summary(self, name: str, text: str) -> None:
        """Write the file that marks a run finished, after the digests of all others and its own."""
        others = [one for one in SUMMED_FILES if one != name]
        sums = {**file_sums(self.path, others), name: text_sum(text)}
        self.write_text(SUMS_FILE, sums_text(sums))
        self.write_text(name, text)

    def drop_segments(self) -> None:
        """Forget the batches: records.parquet holds what they held."""
        shutil.rmtree(self.path / "series", ignore_errors=True)
        (self.path / COPY_NAME).unlink(missing_ok=True)  # of the journal: nothing is recovered now

    @property
    def is_finished(self) -> bool:
        """True once a summary was written."""
        return any((self.path / name).exists() for name in ("summary.json", MIXED_FILE))


def _is_free(path: Path) -> bool:
    """Whether a folder holds no run that began its load; the rest of a failed start is removed."""
    journals = [*path.glob(JOURNAL_NAME), *path.glob(f"{STREAMS_FOLDER}/*/{JOURNAL_NAME}")]
    for journal in journals:
        scan = scan_journal(journal.parent)
        if scan.gaps or entries_of(scan.entries, "start"):
            return False
    if journals:
        for name in ("series", STREAMS_FOLDER):
            shutil.rmtree(path / name, ignore_errors=True)
        for name in (JOURNAL_NAME, COPY_NAME):
            (path / name).unlink(missing_ok=True)
    return True


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


class RunDirectories:
    """The folder that holds the run directories of a service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[Path, RunLock] = {}

    def create(self, scenario: str, run_id: str, out: str = "") -> RunDirectory:
        """Make and lock the directory of a new run: ``out``, else ``<UTC time>-<scenario>-<id>``.

        What a start that failed before its load left in ``out`` is removed. Raises UserError where
        ``out`` holds a run, is being written by another one, or cannot be made.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = Path(out) if out else self._folder / f"{stamp}-{scenario}-{run_id}"
        directory = RunDirectory(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not self.claim(directory):
                raise UserError(
                    f"out {path}: another run is writing there now; name another folder"
                )
            if directory.is_finished or not _is_free(path):
                self.release(directory)
                raise UserError(f"out {path}: already holds a run; name another folder")
        except OSError as error:
            raise UserError(f"out {path}: {error.strerror}; name another folder") from None
        return directory

    def claim(self, directory: RunDirectory) -> bool:
        """Lock a directory for this process until it is released; False where another lives in it.

        Raises OSError where no lock can be made there.
        """
        path = directory.path.resolve()
        if path in self._locks:
            return False
        lock = take_lock(path)
        if lock is not None:
            self._locks[path] = lock
        return lock is not None

    def release(self, directory: RunDirectory) -> None:
        """Let others into the directory. Without effect where it is not claimed."""
        if lock := self._locks.pop(directory.path.resolve(), None):
            lock.release()

    def release_all(self) -> None:
        """Let others into every directory."""
        for path in list(self._locks):
            self._locks.pop(path).release()

    def unfinished(self) -> list[RunDirectory]:
        """Runs that have a journal and no summary: the service died while they ran."""
        runs = self._unfinished(f"*/{JOURNAL_NAME}")
        return [run for run in runs if not (run.path / STREAMS_FOLDER).is_dir()]

    def unfinished_mixed(self) -> list[tuple[RunDirectory, list[RunDirectory]]]:
        """Mixed runs that the service died in, each with its unfinished streams."""
        return [
            (run, self._unfinished(f"{run.path.name}/{STREAMS_FOLDER}/*/{JOURNAL_NAME}"))
            for run in self._unfinished(f"*/{JOURNAL_NAME}")
            if (run.path / STREAMS_FOLDER).is_dir()
        ]

    def _unfinished(self, pattern: str) -> list[RunDirectory]:
        found = (RunDirectory(path.parent) for path in self._folder.glob(pattern))
        return sorted((run for run in found if not run.is_finished), key=lambda run: run.path)
