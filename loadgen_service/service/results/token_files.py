"""tokens.parquet: the arrival of every piece of every streamed answer. Blocking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.token_rows import TokenRows
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_reader import read_tokens

STREAMS_A_ROW_GROUP: Final = 1 << 14
"""Bounds the memory of writing: a stream of a thousand pieces is some 20 KB."""


def write_tokens(path: Path, directory: RunDirectory, plans: Sequence[SeriesPlan]) -> None:
    """One row a piece: series, request_index, token_index, arrived_ns (since the series' start)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = (
        ("series", "i4"),
        ("request_index", "i8"),
        ("token_index", "i4"),
        ("arrived_ns", "i8"),
    )
    schema = pa.schema([(name, pa.from_numpy_dtype(np.dtype(kind))) for name, kind in columns])
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for plan in plans:
            tokens = read_tokens(directory.segments(plan.spec.index))
            ends = np.cumsum(tokens.length)
            for first in range(0, len(tokens), STREAMS_A_ROW_GROUP):
                last = min(first + STREAMS_A_ROW_GROUP, len(tokens))
                start = int(ends[first - 1]) if first else 0
                made = _columns(plan.spec.index, tokens, first, last, start, int(ends[last - 1]))
                writer.write_table(pa.table(made, schema=schema))


def _columns(
    series_index: int, tokens: TokenRows, first: int, last: int, start: int, stop: int
) -> list[np.ndarray]:
    lengths = tokens.length[first:last]
    begins = np.cumsum(lengths) - lengths
    count = stop - start
    return [
        np.full(count, series_index, np.int32),
        np.repeat(tokens.row[first:last], lengths),
        (np.arange(count) - np.repeat(begins, lengths)).astype(np.int32),
        tokens.arrived_ns[start:stop],
    ]
