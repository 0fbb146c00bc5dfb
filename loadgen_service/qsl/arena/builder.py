"""Makes arenas: from a library's samples, or from chunks that came over the network.

A made arena is found again by what went into it (data set, tensors, samples), so a second run
with the same data preprocesses nothing. A kept file is used only after its content was checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import numpy as np

from loadgen_service.errors import RunError
from loadgen_service.qsl.arena.cache import arena_directory, named_disk_errors, new_file
from loadgen_service.qsl.arena.eviction import mark_used, trim_arenas
from loadgen_service.qsl.arena.file import (
    ALIGNMENT,
    LEFT_OUT,
    MAGIC,
    TRAILER,
    TRAILER_MARK,
    Arena,
    ArenaFile,
    is_intact,
    write_note,
)
from loadgen_service.qsl.tensors import ANY_LENGTH, Array, TensorSpec

__all__ = ["Arena", "ArenaDownload", "ArenaFile", "arena_path", "build_arena", "is_intact"]

HASH_LETTER_COUNT: Final = 64


class SampleLibrary(Protocol):
    """What an arena is made from."""

    @property
    def dataset_hash(self) -> str: ...
    @property
    def tensors(self) -> tuple[TensorSpec, ...]: ...
    @property
    def preprocess_ns(self) -> int | None: ...

    def sample(self, index: int) -> tuple[bytes | None, ...]: ...
    def shapes(self, index: int) -> tuple[tuple[int, ...] | None, ...] | None: ...


def build_arena(
    library: SampleLibrary, loaded: Iterable[int] | Array, cache_dir: Path | None = None
) -> ArenaFile:
    """The arena of the samples in ``loaded`` (any order, repeats allowed), made or found kept.

    Then the folder is trimmed to its limit. Raises UserError for a sample that cannot be read or a
    folder that cannot be written, and RunError if the disk is full: one line each.
    """
    samples = np.unique(np.asarray(list(loaded), np.int64))
    folder = arena_directory(cache_dir)
    note = folder / "made" / f"{_recipe_hash(library, samples)}.json"
    arena = _find_kept(note, folder, library.tensors)
    if arena is None:
        arena = _write(library, samples, folder)
        _remember(note, arena)
    mark_used(arena.path)
    trim_arenas(folder, arena.path)
    return arena


def arena_path(content_hash: str, cache_dir: Path | None = None) -> Path:
    """Where an arena of this content lies in the host's cache, if it is there.

    Raises RunError for what is no sha256: the name may come from another host.
    """
    if len(content_hash) != HASH_LETTER_COUNT or not set(content_hash) <= set("0123456789abcdef"):
        raise RunError(f"{content_hash[:HASH_LETTER_COUNT]!r} names no samples: no sha256")
    return arena_directory(cache_dir) / f"{content_hash}.arena"


def _recipe_hash(library: SampleLibrary, samples: Array) -> str:
    digest = sha256(b"arena-recipe-2\n")
    digest.update(library.dataset_hash.encode() + b"\n")
    digest.update(write_note(library.tensors) + b"\n")
    digest.update(samples.astype("<i8").tobytes())
    return digest.hexdigest()


def _find_kept(note: Path, folder: Path, tensors: tuple[TensorSpec, ...]) -> ArenaFile | None:
    try:
        facts = json.loads(note.read_bytes())
        content_hash, size_bytes = str(facts["content_hash"]), int(facts["size_bytes"])
        preprocess_ns = facts["preprocess_ns"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = folder / f"{content_hash}.arena"
    if not is_intact(path, content_hash, size_bytes):
        return None
    return ArenaFile(path, content_hash, size_bytes, tensors, preprocess_ns)


def _remember(note: Path, arena: ArenaFile) -> None:
    facts = {
        "content_hash": arena.content_hash,
        "size_bytes": arena.size_bytes,
        "preprocess_ns": arena.preprocess_ns,
    }
    with new_file(note.parent) as (temporary, file):
        file.write(json.dumps(facts).encode())
        file.flush()
        os.replace(temporary, note)


def _write(library: SampleLibrary, samples: Array, folder: Path) -> ArenaFile:
    with new_file(folder) as (temporary, file):
        writer = _Writer(file, library.tensors)
        for index in samples.tolist():
            writer.add(index, library.sample(index), library.shapes(index))
        content_hash = writer.finish()
        file.flush()
        path = folder / f"{content_hash}.arena"
        os.replace(temporary, path)
    return ArenaFile(path, content_hash, writer.offset, library.tensors, library.preprocess_ns)


class _Writer:
    """Writes front to back and hashes what it writes."""

    def __init__(self, file: BinaryIO, specs: tuple[TensorSpec, ...]) -> None:
        self._file = file
        self._specs = specs
        self._digest = sha256()
        self._rows: list[list[int]] = []
        self.offset = 0
        self._put(MAGIC)

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.offset += len(content)

    def add(
        self,
        sample_index: int,
        tensors: tuple[bytes | None, ...],
        shapes: tuple[tuple[int, ...] | None, ...] | None,
    ) -> None:
        row = [sample_index]
        for tensor in tensors:
            if tensor is None:
                row += (LEFT_OUT, LEFT_OUT)
                continue
            row += (self.offset, self.offset + len(tensor))
            self._put(tensor)
            self._put(bytes(-self.offset % ALIGNMENT))
        for spec, shape in zip(self._specs, shapes or [None] * len(self._specs), strict=True):
            if spec.is_open:
                row += shape or (ANY_LENGTH,) * len(spec.shape)
        self._rows.append(row)

    def finish(self) -> str:
        """Index, note and trailer; the file's hash."""
        index_offset, note = self.offset, write_note(self._specs)
        self._put(np.asarray(self._rows, "<i8").tobytes())
        self._put(note)
        self._put(TRAILER.pack(index_offset, len(self._rows), len(note), TRAILER_MARK))
        return self._digest.hexdigest()


class ArenaDownload:
    """An arena that arrives in order from another host, checked before it appears in the cache."""

    def __init__(self, content_hash: str, size_bytes: int, cache_dir: Path | None = None) -> None:
        """Raises RunError if the disk is full, UserError if the cache cannot be written."""
        self._content_hash = content_hash
        self._size_bytes = size_bytes
        self._path = arena_path(content_hash, cache_dir)
        self._folder = self._path.parent
        self._digest = sha256()
        self._context = new_file(self._folder)
        self._temporary, self._file = self._context.__enter__()
        self.offset = 0
        """Bytes held so far: where to ask for more."""

    def write(self, content: bytes) -> None:
        """Append a chunk that starts at ``offset``. Raises RunError if the disk is full."""
        with named_disk_errors(self._folder):
            self._file.write(content)
        self._digest.update(content)
        self.offset += len(content)

    def commit(self) -> Path:
        """The finished file's path. Raises RunError if its content is not what was asked for."""
        intact = self._digest.hexdigest() == self._content_hash
        if self.offset != self._size_bytes or not intact:
            self.abort()
            raise RunError(
                f"samples arrived damaged: {self.offset} of {self._size_bytes} bytes; run again"
            )
        with named_disk_errors(self._folder):
            self._file.flush()
            os.replace(self._temporary, self._path)
        self.abort()
        trim_arenas(self._folder, self._path)
        return self._path

    def abort(self) -> None:
        """Drop what has come. Harmless after ``commit``."""
        self._context.__exit__(None, None, None)
