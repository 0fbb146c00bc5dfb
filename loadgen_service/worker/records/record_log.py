"""Rows of finished requests, in mmapped blocks of columns.

The loop writes five numbers a request through memoryviews; everything that follows from the plan
(row number, due time, SUT) is filled in for many rows at once when they are sealed. A block's file
lives until every batch cut from it is acknowledged.

When the rows of a series are sealed into a batch. Pure: instants and counts are arguments.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from loadgen_service.core.records.columns import COLUMNS, NEVER, REQUEST_COLUMNS, SERVER_COLUMNS
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.errors import RunError

BLOCK_ROW_COUNT: Final = 16_384
"""Rows of a block: 1.4 MB, a tenth of a second at 160,000 requests a second."""

Columns = Mapping[str, np.ndarray]
Finish = Callable[[Columns], None]
"""Fills, in place, what the loop left out of sealed rows. It gets slices of the columns."""

_WIDEST_FIRST: Final = sorted(COLUMNS, key=lambda column: -column.dtype.itemsize)
"""The order in a block: every column is then aligned."""

_EXPECTED: Final = [(one, one.expected) for one in COLUMNS if one.expected is not None]


class Block:
    """One file of columns. ``columns`` are arrays over the file, ``views`` their memoryviews."""

    def __init__(self, path: Path, row_count: int) -> None:
        self.path = path
        self.open_batch_count = 0
        size = sum(column.dtype.itemsize for column in COLUMNS) * row_count
        self._map = _map_file(path, size)
        self.columns: dict[str, np.ndarray] = {}
        offset = 0
        for column in _WIDEST_FIRST:
            self.columns[column.name] = np.frombuffer(self._map, column.dtype, row_count, offset)
            offset += column.dtype.itemsize * row_count
        self.views = {name: content.data for name, content in self.columns.items()}
        self.has_timings = True
        self.clear()

    def clear(self) -> None:
        """What most rows have in common, so that the loop need not write it."""
        for column, value in _EXPECTED:
            if self.has_timings or not column.from_server:
                self.columns[column.name].fill(value)
        self.has_timings = False

    def delete(self) -> None:
        """Remove the file; the memory goes with the last array that looks at it."""
        self.path.unlink(missing_ok=True)


def _map_file(path: Path, size: int) -> mmap.mmap:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(handle, 0, size)  # a full disk is met here, not by a SIGBUS later
            return mmap.mmap(handle, size)
        finally:
            os.close(handle)
    except OSError as error:
        raise RunError(
            f"spill directory: cannot write {path} ({error.strerror}); free some room or name "
            "another with --spill-dir"
        ) from None


@dataclass(slots=True)
class SealedRows:
    """Rows ``start`` to ``stop`` of a block, complete: what one record batch carries."""

    series_index: int
    block: Block
    start: int
    stop: int
    log: RecordLog

    @property
    def count(self) -> int:
        return self.stop - self.start

    def columns(self) -> dict[str, np.ndarray]:
        """The columns to send; the SUT's own timings only where it gave any."""
        columns = self.block.columns
        cut = {name: columns[name][self.start : self.stop] for name in REQUEST_COLUMNS}
        if self.block.has_timings:
            given = {name: columns[name][self.start : self.stop] for name in SERVER_COLUMNS}
            if any((column != NEVER).any() for column in given.values()):
                cut |= given
        return cut

    def release(self) -> None:
        """The batch is durable elsewhere: its block may be used again."""
        self.log.release(self.block)


def _leave(columns: Columns) -> None:
    """Before the first series there is nothing to complete."""


class RecordLog:
    """The current block and its row count. The loop writes to the views and sets ``count``.

    ``views``: memoryviews by column; those that the loop writes for every request are attributes
    too. ``reserve`` must be called before a turn's rows are written; it may change the views.
    ``sealed_count``: seals so far.
    """

    __slots__ = (
        "_block",
        "_directory",
        "_finish",
        "_free",
        "_number",
        "_on_sealed",
        "_series_index",
        "_start",
        "code",
        "completed_ns",
        "count",
        "first_response_ns",
        "issued_ns",
        "released_ns",
        "row",
        "row_count",
        "sealed_count",
        "status",
        "sut_index",
        "token_count",
        "views",
    )

    def __init__(
        self,
        directory: Path,
        on_sealed: Callable[[SealedRows], object],
        row_count: int = BLOCK_ROW_COUNT,
    ) -> None:
        self.row_count = row_count
        self.sealed_count = 0
        self._directory = directory
        self._on_sealed = on_sealed
        self._free: list[Block] = []
        self._number = 0
        self.count = 0
        self._start = 0
        self._finish: Finish = _leave
        self._series_index = 0
        self._take_block()

    def begin_series(self, series_index: int, finish: Finish) -> None:
        """Rows written from now on belong to this series."""
        self.seal()
        self._series_index = series_index
        self._finish = finish

    @property
    def unsealed_count(self) -> int:
        """Rows written since the last seal."""
        return self.count - self._start

    def reserve(self, count: int) -> None:
        """Make room for ``count`` rows (at most ``row_count``) in the current block."""
        if self.row_count - self.count < count:
            self.seal()
            full = self._block
            self._take_block()
            if not full.open_batch_count:
                self._recycle(full)

    def note_timings(self, index: int, timings: Sequence[int]) -> None:
        """The SUT's own instants (ns) of a row of the current block, in their columns' order."""
        self._block.has_timings = True
        for name, value in zip(SERVER_COLUMNS, timings, strict=True):
            self._block.views[name][index] = value

    def seal(self) -> None:
        """Complete the rows since the last seal and hand them on, if there are any."""
        if self.count == self._start:
            return
        rows = SealedRows(self._series_index, self._block, self._start, self.count, self)
        self._finish({n: c[rows.start : rows.stop] for n, c in self._block.columns.items()})
        self._start = self.count
        self.sealed_count += 1
        self._block.open_batch_count += 1
        self._on_sealed(rows)

    def release(self, block: Block) -> None:
        """One batch of the block was acknowledged."""
        block.open_batch_count -= 1
        if not block.open_batch_count and block is not self._block:
            self._recycle(block)

    def close(self) -> None:
        """Delete the current and the spare blocks; blocks with open batches keep their files."""
        for block in (*self._free, self._block):
            block.delete()
        self._free.clear()

    def _recycle(self, block: Block) -> None:
        block.clear()
        self._free.append(block)

    def _take_block(self) -> None:
        if self._free:
            self._block = self._free.pop()
        else:
            self._number += 1
            path = self._directory / f"records-{self._number:06d}.block"
            self._block = Block(path, self.row_count)
        self.count = self._start = 0
        views = self.views = self._block.views
        self.row = views["row"]
        self.released_ns = views["released_ns"]
        self.issued_ns = views["issued_ns"]
        self.first_response_ns = views["first_response_ns"]
        self.completed_ns = views["completed_ns"]
        self.status = views["status"]
        self.code = views["code"]
        self.sut_index = views["sut_index"]
        self.token_count = views["token_count"]


SEAL_ROW_COUNT: Final = 4096
"""A batch costs its way by itself: fast runs send large ones, slow ones do not wait for them."""
SEAL_ROW_COUNT_CLOSED: Final = BLOCK_ROW_COUNT
"""A closed loop has no instants to keep, from which the work on a larger batch could keep it."""
SEAL_AGE_NS: Final = 100_000_000


def seal_row_count(scenario: str) -> int:
    """How many rows a batch gets where they come faster than ``SEAL_AGE_NS`` asks for one."""
    return SEAL_ROW_COUNT_CLOSED if SCENARIOS[scenario].closed else SEAL_ROW_COUNT


class FlushPolicy:
    """Says at each tick whether to seal. ``sealed_count``: the log's seals, a full block's too."""

    def __init__(self, row_count: int, sealed_count: int) -> None:
        self._row_count = row_count
        self._sealed_count = sealed_count
        self._sealed_ns = 0

    def is_due(self, now_ns: int, unsealed_count: int, sealed_count: int, keeps_more: bool) -> bool:
        """Whether there are rows for a batch, or the oldest thing that waits may be too old.

        Where a block was full its rows have gone and those since are young; not so if something
        else (``keeps_more``) waits, which only a seal of the whole takes along.
        """
        if sealed_count != self._sealed_count and not keeps_more:
            self._sealed_count, self._sealed_ns = sealed_count, now_ns
        return unsealed_count >= self._row_count or now_ns - self._sealed_ns >= SEAL_AGE_NS

    def note_seal(self, now_ns: int, sealed_count: int) -> None:
        """All that waited has been sealed."""
        self._sealed_count, self._sealed_ns = sealed_count, now_ns
