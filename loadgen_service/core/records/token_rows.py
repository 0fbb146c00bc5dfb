"""Arrivals of streamed answers: which requests, and when each piece of each came.

A piece is what a server sent at once: a token, or several where it groups them. Decides how rows of
many batches become one table; measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

UNKNOWN_COUNT: Final = -1
CHOICE_MAX: Final = 255
"""Answers to one prompt (``n``) that are told apart; those beyond share the last number."""


class CountedBy(IntEnum):
    """Where a request's count of output tokens comes from."""

    CHUNKS = 0
    USAGE = 1
    TOKENIZER = 2


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Streams by plan row, [n] each but ``arrived_ns``.

    A request with several choices has a stream for each, with the same ``row``, side by side.
    ``arrived_ns``: ns since the series' start, the pieces of all streams joined in the order of
    ``row``, ``length`` of each; 0 where tokens were counted and no piece came.
    ``input_token_count`` -1: unknown.
    """

    row: Int64Array
    length: Int64Array
    input_token_count: npt.NDArray[np.int32]
    counted_by: npt.NDArray[np.uint8]
    arrived_ns: Int64Array

    def __len__(self) -> int:
        return len(self.row)

    def kept(self, keep: npt.NDArray[np.bool_]) -> TokenRows:
        """Only the streams where ``keep`` [n] is true."""
        if keep.all():
            return self
        return TokenRows(
            self.row[keep],
            self.length[keep],
            self.input_token_count[keep],
            self.counted_by[keep],
            self.arrived_ns[np.repeat(keep, self.length)],
        )


def no_tokens() -> TokenRows:
    """The table of a run without streams."""
    empty = np.empty(0, np.int64)
    return TokenRows(empty, empty, np.empty(0, np.int32), np.empty(0, np.uint8), empty)


def joined(pieces: Sequence[TokenRows]) -> TokenRows:
    """One table of several batches; of a row that came in two of them the first batch's."""
    if not pieces:
        return no_tokens()
    table = TokenRows(
        np.concatenate([piece.row for piece in pieces]),
        np.concatenate([piece.length for piece in pieces]),
        np.concatenate([piece.input_token_count for piece in pieces]),
        np.concatenate([piece.counted_by for piece in pieces]),
        np.concatenate([piece.arrived_ns for piece in pieces]),
    )
    batch = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    _, first, which = np.unique(table.row, return_index=True, return_inverse=True)
    keep: npt.NDArray[np.bool_] = batch == batch[first][which]
    return table.kept(keep)
