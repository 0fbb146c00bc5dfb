"""Durable batches: append-only files of CRC-framed bytes, one a worker and series.

A frame is ``length, crc32, payload``; the payload is a serialised ``Batch`` and opaque here. A
torn tail (a crash in the middle of a write) is cut when the file is opened again. What a batch
means, and which sequence number comes next, is the collector's business.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

MAGIC = b"LGSEG01\n"
_FRAME = struct.Struct("<II")
PARTS_MAX = 1024
"""Of one write: Linux's limit (IOV_MAX)."""

_DONTNEED = os.POSIX_FADV_DONTNEED
CACHED_BYTES = 256 << 20
"""The end of a segment stays in the page cache: most are no longer, and are read after the run."""

MAX_FRAME_BYTES = 256 << 20
"""A longer frame is taken for garbage: no batch is near it (messages stop at 64 MiB)."""


class Segment:
    """One file, open for appending. Blocking: call it from a thread."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path``; what follows its last whole frame is cut off."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
        end = whole_bytes(path)
        self.cut_bytes = path.stat().st_size - end
        self._file.truncate(end)
        self._file.seek(end)
        self._forgotten = 0
        if end == 0:
            self._write([MAGIC])
            _sync_folder(path.parent)

    def append(self, *payloads: bytes) -> None:
        """Write a frame each; they are durable only after :meth:`sync`.

        Raises OSError; then nothing of these frames stays in the file.
        """
        parts: list[bytes] = []
        for payload in payloads:
            parts += (_FRAME.pack(len(payload), crc32(payload)), payload)
        self._write(parts)

    def _write(self, parts: list[bytes]) -> None:
        start = self._file.tell()
        left = [memoryview(part) for part in parts]
        try:
            while left:
                left = _after(left, os.writev(self._file.fileno(), left[:PARTS_MAX]))
        except OSError:
            # A half frame before later whole ones would hide them from a reader.
            self._file.truncate(start)
            self._file.seek(start)
            raise

    def sync(self) -> None:
        """Return once everything appended is on the disk."""
        os.fdatasync(self._file.fileno())
        self._forget()

    def _forget(self) -> None:
        """Let the kernel reuse the pages of what is long on the disk.

        A container is charged for them, and where a host lends memory page by page, new ones cost
        seven times what used ones do. A hint: where it is refused, the records are stored all the
        same.
        """
        stop = (self._file.tell() - CACHED_BYTES) & -mmap.PAGESIZE
        if stop > self._forgotten:
            size = stop - self._forgotten
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._file.fileno(), self._forgotten, size, _DONTNEED)
            self._forgotten = stop

    def close(self) -> None:
        """Close the file; appending afterwards is an error."""
        self._file.close()


def _after(parts: list[memoryview], written: int) -> list[memoryview]:
    """What is left of ``parts`` once their first ``written`` bytes are."""
    for position, part in enumerate(parts):
        if written < len(part):
            return [part[written:], *parts[position + 1 :]]
        written -= len(part)
    return []


def frames(path: Path) -> Iterator[bytes]:
    """Payloads of all whole frames in order; stops silently at a torn tail."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return
        while (payload := _next_frame(file)) is not None:
            yield payload


def _next_frame(file: BinaryIO) -> bytes | None:
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    length, crc = _FRAME.unpack(head)
    if length > MAX_FRAME_BYTES:
        return None
    payload = file.read(length)
    return payload if len(payload) == length and crc32(payload) == crc else None


def whole_bytes(path: Path) -> int:
    """Length of the file up to the end of its last whole frame; 0 where it has no magic."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return 0  # what is appended behind a broken magic would never be read
    return len(MAGIC) + sum(_FRAME.size + len(payload) for payload in frames(path))


def _sync_folder(folder: Path) -> None:
    # A new file's name is durable only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
