"""The arena: the raw tensors of a run's samples in one file, mapped into memory by every worker.

Layout: 64 bytes of magic, the tensors (each on a 64-byte boundary) sample by sample in library
order, an int64 index, a JSON note of the tensors, and a 32-byte trailer with their sizes. A row of
the index: sample, begin and end of each tensor (-1: left out), then the shape of each tensor whose
spec has an open length (-1: not known). The file's name is the sha256 of all its bytes. What a
sample means is none of its business.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from loadgen_service.errors import RunError
from loadgen_service.qsl.arena.eviction import mark_used
from loadgen_service.qsl.tensors import Array, TensorSpec

MAGIC: Final = b"loadgen-arena-2\n".ljust(64, b"\0")
ALIGNMENT: Final = 64
"""Bytes; a cache line, and more than any datatype needs."""
TRAILER: Final = struct.Struct("<qqq8s")
"""Index offset, sample count, note length, mark; the note follows the index."""
TRAILER_MARK: Final = b"lgarena\0"
LEFT_OUT: Final = -1
"""Begin and end of an optional tensor that a sample leaves out."""
HASH_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ArenaFile:
    """A finished arena. ``content_hash`` is the hex sha256 of the file, which names it too.

    ``preprocess_ns`` is the mean time of decoding and preprocessing a sample when the file was
    made; None where the data set has no such step.
    """

    path: Path
    content_hash: str
    size_bytes: int
    tensors: tuple[TensorSpec, ...]
    preprocess_ns: int | None = None


def file_hash(path: Path) -> str:
    """Hex sha256 of a file. Raises OSError."""
    digest = sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def is_intact(path: Path, content_hash: str, size_bytes: int | None = None) -> bool:
    """Whether a readable file of this content (and size) lies at ``path``."""
    try:
        if size_bytes is not None and path.stat().st_size != size_bytes:
            return False
        return file_hash(path) == content_hash
    except OSError:
        return False


class Arena:
    """A mapped arena. ``tensors(sample_index)`` gives views, valid until ``close``."""

    def __init__(
        self,
        mapped: mmap.mmap,
        specs: tuple[TensorSpec, ...],
        samples: Array,
        spans: Array,
        lengths: Array,
    ) -> None:
        self._mapped = mapped
        self._lengths = lengths
        self.is_uniform = not lengths.shape[1] and not bool((spans < 0).any())
        """Every sample has every tensor, in the shapes of ``specs``."""
        self._view = memoryview(mapped)
        self._spans = spans
        self.specs = specs
        self.sample_indexes = samples
        """int64, ascending: the samples that the arena holds."""
        contiguous = len(samples) == 0 or samples[-1] - samples[0] == len(samples) - 1
        self._first = int(samples[0]) if contiguous and len(samples) else 0
        self._slots = None if contiguous else {s: i for i, s in enumerate(samples.tolist())}

    @classmethod
    def open(cls, path: Path | str, content_hash: str | None = None) -> Arena:
        """Map an arena; with ``content_hash`` the whole file is read and compared first.

        Raises RunError if the file is not there, not an arena, cut short or of other content.
        """
        path = Path(path)
        if content_hash is not None and not is_intact(path, content_hash):
            raise RunError(f"samples in {path} are missing or damaged: delete the file, run again")
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            mark_used(path)
            return cls(mapped, *_read_index(mapped))
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise RunError(f"{path} is not an arena of samples: {error}") from error

    def __len__(self) -> int:
        return len(self.sample_indexes)

    def tensors(self, sample_index: int) -> tuple[memoryview, ...]:
        """Raw bytes of each tensor of a sample, in the order of ``specs``; empty where left out.

        Raises KeyError for a sample that the arena does not hold.
        """
        view = self._view
        return tuple(view[start:end] for start, end in self.spans(sample_index))

    def spans(self, sample_index: int) -> list[tuple[int, int]]:
        """Where each tensor of a sample begins and ends in the arena; -1: left out. Raises
        KeyError."""
        spans: list[tuple[int, int]] = self._spans[self._slot(sample_index)].tolist()
        return spans

    def shapes(self, sample_index: int) -> tuple[tuple[int, ...] | None, ...]:
        """Shape of each tensor of a sample; None where it is left out. Raises KeyError."""
        slot = self._slot(sample_index)
        lengths = iter(self._lengths[slot].tolist())
        found: list[tuple[int, ...] | None] = []
        for spec, (start, _) in zip(self.specs, self._spans[slot].tolist(), strict=True):
            own = tuple(next(lengths) for _ in spec.shape) if spec.is_open else spec.shape
            found.append(None if start < 0 else own)
        return tuple(found)

    def _slot(self, sample_index: int) -> int:
        if self._slots is not None:
            return self._slots[sample_index]
        slot = sample_index - self._first
        if not 0 <= slot < len(self.sample_indexes):
            raise KeyError(sample_index)
        return slot

    @property
    def content(self) -> memoryview:
        """All bytes of the arena; a view, valid until ``close``."""
        return self._view

    def close(self) -> None:
        """Unmap, unless views are still held: then the map goes with the last of them."""
        try:
            self._view.release()
            self._mapped.close()
        except BufferError:
            pass


def _read_index(mapped: mmap.mmap) -> tuple[tuple[TensorSpec, ...], Array, Array, Array]:
    """Tensors, sample indexes [n], byte spans [n, tensors, 2] and open tensors' shapes [n, dims]
    of a mapped file."""
    if mapped[: len(MAGIC)] != MAGIC or len(mapped) < len(MAGIC) + TRAILER.size:
        raise ValueError("its first bytes are not an arena's")
    trailer = mapped[len(mapped) - TRAILER.size :]
    index_offset, sample_count, note_bytes, mark = TRAILER.unpack(trailer)
    if mark != TRAILER_MARK:
        raise ValueError("its end is missing")
    note_start = len(mapped) - TRAILER.size - note_bytes
    specs = read_note(mapped[note_start : note_start + note_bytes])
    spans_end = 1 + 2 * len(specs)
    width = spans_end + sum(len(spec.shape) for spec in specs if spec.is_open)
    if note_start - index_offset != 8 * sample_count * width:
        raise ValueError("its index has the wrong size")
    rows = np.frombuffer(mapped[index_offset:note_start], "<i8").reshape(sample_count, width)
    spans = rows[:, 1:spans_end].reshape(sample_count, len(specs), 2)
    held = spans[spans[:, :, 0] != LEFT_OUT]
    if held.size and (held.min() < len(MAGIC) or held.max() > index_offset):
        raise ValueError("its index points outside")
    return specs, rows[:, 0], spans, rows[:, spans_end:]


def write_note(specs: Sequence[TensorSpec]) -> bytes:
    """The tensors as JSON bytes, the same for the same tensors."""
    return json.dumps([[s.name, s.datatype, list(s.shape)] for s in specs]).encode()


def read_note(note: bytes) -> tuple[TensorSpec, ...]:
    """Reads what ``write_note`` wrote. Raises ValueError."""
    return tuple(
        TensorSpec(name, datatype, tuple(shape)) for name, datatype, shape in json.loads(note)
    )
