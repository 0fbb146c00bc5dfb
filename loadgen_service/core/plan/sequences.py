"""Sequences of stateful models: which samples make one, and which rows of an endless plan it has.

A sequence's requests are consecutive rows. Decides numbers and ids; paces nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.plan.mt19937 import Int64Array, RandomWords

Int32Array = npt.NDArray[np.int32]

# The draw of sequences has an engine of its own, named by its letters.
_SEQUENCE_SEED: Final = int.from_bytes(b"SEQS", "big")


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """The sequences of a data file, in its order.

    ``first`` (int64, one more than there are sequences): sequence i is
    ``samples[first[i]:first[i + 1]]``, sample indexes (int32) in the order of their requests.
    """

    first: Int64Array
    samples: Int32Array

    @classmethod
    def of(cls, sequences: list[list[int]]) -> SequenceSet:
        """From sample indexes, a list a sequence; none may be empty."""
        lengths = [len(one) for one in sequences]
        first = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        joined = [sample for one in sequences for sample in one]
        return cls(first.astype(np.int64), np.array(joined, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def used_samples(self) -> Int64Array:
        """Sample indexes that occur, ascending."""
        used: Int64Array = np.unique(self.samples).astype(np.int64)
        return used

    def to_lists(self) -> list[list[int]]:
        """What ``of`` takes."""
        bounds, samples = self.first.tolist(), self.samples.tolist()
        return [samples[a:b] for a, b in pairwise(bounds)]

    def to_bytes(self) -> bytes:
        """int64 little-endian: the number of sequences, ``first`` without its 0, the samples."""
        parts = (np.array([len(self)]), self.first[1:], self.samples)
        return np.concatenate(parts).astype("<i8").tobytes()


def sequences_from_bytes(content: bytes) -> SequenceSet | None:
    """What ``SequenceSet.to_bytes`` made; None of nothing. Raises ValueError for other bytes."""
    if not content:
        return None
    numbers = np.frombuffer(content, "<i8").astype(np.int64)
    count = int(numbers[0])
    first = np.concatenate(([0], numbers[1 : 1 + count])).astype(np.int64)
    samples = numbers[1 + count :].astype(np.int32)
    if count < 1 or len(first) != count + 1 or len(samples) != first[-1]:
        raise ValueError("the sequences do not add up")
    return SequenceSet(first, samples)


@dataclass(frozen=True, slots=True)
class SequencePlay:
    """The sequences of one endless series, numbered 0, 1, 2 ... in the order of their rows.

    ``first_row`` (int64, block_count + 1): rows of the first ``block_count`` sequences; then all
    repeats, in other rows and under other numbers. Sequence ``number`` has the id
    ``id_start + number * id_step``.
    """

    first_row: Int64Array
    id_start: int
    id_step: int

    @property
    def block_count(self) -> int:
        """Sequences after which the plan repeats."""
        return len(self.first_row) - 1

    @property
    def block_rows(self) -> int:
        """Rows of these sequences."""
        return int(self.first_row[-1])

    def id_of(self, number: int) -> int:
        """``sequence_id`` of a sequence."""
        return self.id_start + number * self.id_step

    def span(self, number: int) -> tuple[int, int]:
        """First and last row of a sequence."""
        block, within = divmod(number, self.block_count)
        offset = block * self.block_rows
        return offset + int(self.first_row[within]), offset + int(self.first_row[within + 1]) - 1

    def numbers_of(self, rows: Int64Array) -> Int64Array:
        """Which sequence each row belongs to."""
        blocks, within = np.divmod(rows, self.block_rows)
        found = np.searchsorted(self.first_row, within, side="right") - 1
        numbers: Int64Array = blocks * self.block_count + found
        return numbers

    def first_rows(self, numbers: Int64Array) -> Int64Array:
        """The first row of each sequence."""
        blocks, within = np.divmod(numbers, self.block_count)
        rows: Int64Array = blocks * self.block_rows + self.first_row[within]
        return rows

    def lengths(self, numbers: Int64Array) -> Int64Array:
        """Requests of each sequence."""
        found: Int64Array = np.diff(self.first_row)[numbers % self.block_count]
        return found

    def count_within(self, row_count: int) -> int:
        """How many whole sequences lie in the first ``row_count`` rows."""
        blocks, rest = divmod(row_count, self.block_rows)
        within = int(np.searchsorted(self.first_row, rest, side="right")) - 1
        return blocks * self.block_count + within


def drawn_sequences(sequences: SequenceSet, seed: int, row_count: int) -> Int64Array:
    """Indexes of the sequences that are played in turn, some ``row_count`` requests in all.

    Each is drawn from the whole file, as LoadGen draws samples; ``seed``: that of the samples.
    """
    mean = max(1, len(sequences.samples) // len(sequences))
    words = RandomWords(seed ^ _SEQUENCE_SEED)
    return words.below_many(len(sequences), max(1, row_count // mean))


def rows_of_sequences(sequences: SequenceSet, drawn: Int64Array) -> tuple[Int32Array, Int64Array]:
    """(sample of each row, first row of each drawn sequence and the end)."""
    lengths = np.diff(sequences.first)[drawn]
    first_row = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    within = np.arange(first_row[-1]) - np.repeat(first_row[:-1], lengths)
    return sequences.samples[np.repeat(sequences.first[drawn], lengths) + within], first_row
