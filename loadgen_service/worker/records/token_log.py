"""Arrivals of the pieces of streamed answers: of open requests, and of those that have ended.

An arrival costs one append to an array of machine words. Sealed like records, beside them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.records.token_rows import UNKNOWN_COUNT, CountedBy, TokenRows
from loadgen_service.sut.interface import Usage


@dataclass(slots=True)
class SealedTokens:
    """Ended streams by plan row: what one token batch carries."""

    series_index: int
    rows: TokenRows

    def release(self) -> None:
        """Nothing to give back: the memory goes with this object."""


class TokenLog:
    """``open`` maps the key of a request to the arrivals of its first choice so far (absolute ns).

    Arrivals of further choices stand beside: ``n`` of them are rare.
    """

    __slots__ = (
        "_arrived",
        "_counted_by",
        "_further",
        "_input_counts",
        "_keys",
        "_lengths",
        "open",
    )

    def __init__(self) -> None:
        self.open: dict[int, array[int]] = {}
        self._further: dict[int, dict[int, array[int]]] = {}
        self._clear()

    def _clear(self) -> None:
        self._keys = array("q")
        self._lengths = array("q")
        self._input_counts = array("i")
        self._counted_by = array("B")
        self._arrived = array("q")

    @property
    def ended_count(self) -> int:
        """Streams of ended requests since the last seal."""
        return len(self._keys)

    def note(self, key: int, now_ns: int, choice: int = 0) -> None:
        """A piece of an answer arrived."""
        arrived = self.open.get(key)
        if arrived is None:
            arrived = self.open[key] = array("q")
        if choice:
            arrived = self._further.setdefault(key, {}).setdefault(choice, array("q"))
        arrived.append(now_ns)

    def end(self, key: int, usage: Usage | None) -> tuple[int, int] | None:
        """A request ended: its first arrival and count of tokens.

        None if nothing ever came and nobody counted. Where tokens were counted and no piece came,
        the first arrival is ``NEVER``.
        """
        first = self.open.pop(key, None)
        if first is None and usage is None:
            return None
        streams = [first or array("q"), *self._further.pop(key, {}).values()]
        told = [stream for stream in streams if stream] or streams[:1]
        piece_count = sum(map(len, told))
        counted = usage or (piece_count, UNKNOWN_COUNT, CountedBy.CHUNKS)
        for stream in told:
            self._keys.append(key)
            self._lengths.append(len(stream))
            self._input_counts.append(counted[1])
            self._counted_by.append(counted[2])
            self._arrived.extend(stream)
        return min((stream[0] for stream in told if stream), default=NEVER), counted[0]

    def take(
        self, series_index: int, rows_of: Callable[[np.ndarray], np.ndarray], t0_ns: int
    ) -> SealedTokens | None:
        """What has ended since the last call, with instants since ``t0_ns``; None if nothing."""
        if not self._keys:
            return None
        rows = TokenRows(
            rows_of(np.frombuffer(self._keys, np.int64)),
            np.frombuffer(self._lengths, np.int64),
            np.frombuffer(self._input_counts, np.int32),
            np.frombuffer(self._counted_by, np.uint8),
            np.frombuffer(self._arrived, np.int64) - t0_ns,
        )
        self._clear()
        return SealedTokens(series_index, rows)
