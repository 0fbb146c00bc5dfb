"""Durable batches: append-only files of CRC-framed bytes, one a worker and series.

A file begins with a magic and a mark of 8 random bytes. A frame is ``mark, length, crc32 of the
payload, crc32 of this head, payload``; the payload is a serialised ``Batch`` and opaque here. A
torn tail (a crash in the middle of a write) is cut when the file is opened again. Damaged bytes are
skipped: the next frame is found by the mark, which no payload knows. What a batch means, and which
sequence number comes next, is the collector's business.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from isal.isal_zlib import crc32

MAGIC = b"LGSEG02\n"
_MARK_BYTES: Final = 8
HEADER_BYTES: Final = len(MAGIC) + _MARK_BYTES
_FRAME = struct.Struct("<8sII")
_HEAD_CRC = struct.Struct("<I")
FRAME_HEAD_BYTES: Final = _FRAME.size + _HEAD_CRC.size
PARTS_MAX = 1024
"""Of one write: Linux's limit (IOV_MAX)."""

_DONTNEED = os.POSIX_FADV_DONTNEED
CACHED_BYTES = 256 << 20
"""The end of a segment stays in the page cache: most are no longer, and are read after the run."""

MAX_FRAME_BYTES = 256 << 20
"""A longer frame is taken for garbage: no batch is near it (messages stop at 64 MiB)."""

_SEARCH_BYTES: Final = 1 << 20
"""How much of a damaged file is searched for the next mark at once."""

DAMAGED_SUFFIX: Final = ".damaged"
"""Of a segment without a readable frame or mark that a worker's later batches pushed aside."""


class Damage(NamedTuple):
    """Bytes of a segment that hold no frame. ``torn``: a write that a crash cut short."""

    offset: int
    size_bytes: int
    torn: bool


class Segment:
    """One file, open for appending. Blocking: call it from a thread."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path``; a torn tail is cut off, and damage is left where it is.

        A file in which nothing can be read is renamed to ``<name>.damaged``.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        mark, end = _sound_end(path) if path.exists() else (b"", 0)
        self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
        self._file.truncate(end)
        self._file.seek(end)
        self._forgotten = 0
        self._mark = mark or secrets.token_bytes(_MARK_BYTES)
        if end == 0:
            self._write([MAGIC, self._mark])
            _sync_folder(path.parent)

    def append(self, *payloads: bytes) -> None:
        """Write a frame each; they are durable only after :meth:`sync`.

        Raises OSError; then nothing of these frames stays in the file.
        """
        parts: list[bytes] = []
        for payload in payloads:
            head = _FRAME.pack(self._mark, len(payload), crc32(payload))
            parts += (head + _HEAD_CRC.pack(crc32(head)), payload)
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
    """Payloads of all whole frames in order; ``frames_and_damage`` names what lies between them."""
    for part in frames_and_damage(path):
        if not isinstance(part, Damage):
            yield part


def frames_and_damage(path: Path) -> Iterator[bytes | Damage]:
    """Every whole frame's payload in order, and every stretch of the file that holds none."""
    with open(path, "rb") as file:
        mark, start = _mark_of(file)
        if start:
            yield Damage(0, start, torn=not mark and _is_zero(file, 0))
            if not mark:
                return
        yield from _parts(file, mark)


def _parts(file: BinaryIO, mark: bytes) -> Iterator[bytes | Damage]:
    size = os.fstat(file.fileno()).st_size
    at = HEADER_BYTES
    while at < size:
        length, crc = _head_at(file, at, mark)
        end = at + FRAME_HEAD_BYTES + length
        if length < 0:
            end = _next_head(file, at + 1, mark)
            torn = end < 0 and (size - at < FRAME_HEAD_BYTES or _is_zero(file, at))
            end = size if end < 0 else end
            yield Damage(at, end - at, torn)
        elif end > size:
            yield Damage(at, size - at, torn=True)
        else:
            file.seek(at + FRAME_HEAD_BYTES)
            payload = file.read(length)
            yield payload if crc32(payload) == crc else Damage(at, end - at, torn=False)
        at = end


def _mark_of(file: BinaryIO) -> tuple[bytes, int]:
    """The file's mark (none where nothing is readable), and how many bytes of a bad header.

    The first frame repeats the mark, so that one damaged copy is not the end of the file.
    """
    head = file.read(HEADER_BYTES + _MARK_BYTES)
    mark, again = head[len(MAGIC) : HEADER_BYTES], head[HEADER_BYTES:]
    size = os.fstat(file.fileno()).st_size
    if size <= HEADER_BYTES:
        whole = head[: len(MAGIC)] == MAGIC and len(mark) == _MARK_BYTES
        return (mark, 0) if whole else (b"", size)
    if head[: len(MAGIC)] == MAGIC and (mark == again or _next_head(file, HEADER_BYTES, mark) > 0):
        return mark, 0
    for one in (mark, again):
        if len(one) == _MARK_BYTES and _next_head(file, HEADER_BYTES, one) > 0:
            return one, HEADER_BYTES
    is_torn = head[: len(MAGIC)] == MAGIC and size < HEADER_BYTES + FRAME_HEAD_BYTES
    return (mark, 0) if is_torn else (b"", size)


def _head_at(file: BinaryIO, at: int, mark: bytes) -> tuple[int, int]:
    """Length and checksum of the frame whose head stands here; (-1, 0) where none does."""
    file.seek(at)
    head = file.read(FRAME_HEAD_BYTES)
    if len(head) < FRAME_HEAD_BYTES:
        return -1, 0
    own, length, crc = _FRAME.unpack_from(head)
    is_sound = own == mark and _HEAD_CRC.unpack_from(head, _FRAME.size)[0] == crc32(
        head[: _FRAME.size]
    )
    return (length, crc) if is_sound and length <= MAX_FRAME_BYTES else (-1, 0)


def _next_head(file: BinaryIO, at: int, mark: bytes) -> int:
    """Where the next head begins, from ``at`` on; -1 where there is none."""
    while True:
        file.seek(at)
        piece = file.read(_SEARCH_BYTES + _MARK_BYTES - 1)
        found = piece.find(mark)
        if found >= 0:
            if _head_at(file, at + found, mark)[0] >= 0:
                return at + found
            at += found + 1
        elif len(piece) < _SEARCH_BYTES + _MARK_BYTES - 1:
            return -1
        else:
            at += _SEARCH_BYTES


def _is_zero(file: BinaryIO, at: int) -> bool:
    """Whether only zeros follow: a file that grew before its content came to the disk."""
    file.seek(at)
    while piece := file.read(_SEARCH_BYTES):
        if piece.strip(b"\0"):
            return False
    return True


def _sound_end(path: Path) -> tuple[bytes, int]:
    """The mark to go on with and where; a file in which nothing can be read is put aside."""
    with open(path, "rb") as file:
        mark, _ = _mark_of(file)
        size = os.fstat(file.fileno()).st_size
        if not mark and (size < HEADER_BYTES or _is_zero(file, 0)):
            return b"", 0
    if not mark:
        os.replace(path, path.with_name(path.name + DAMAGED_SUFFIX))
        return b"", 0
    for part in frames_and_damage(path):
        if isinstance(part, Damage) and part.torn:
            return mark, part.offset
    return mark, size


def _sync_folder(folder: Path) -> None:
    # A new file's name is durable only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
