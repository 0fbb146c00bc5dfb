"""plan.parquet: the plan of a run on disk, one row a sample, written without running anything.

Decides the file's columns; the plan itself comes from the core.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from loadgen_service.atomic_file import atomic_write
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, plan_series, series_specs
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa

# Bounds the memory of a row group; Parquet readers skip whole groups.
_ROWS_AT_ONCE: Final = 1 << 20
_PULLED_SUT: Final = -1


def write_plan(
    path: Path | str,
    settings: Settings,
    counts: SampleCounts,
    trace_ns: npt.NDArray[np.int64] | None = None,
) -> int:
    """Write all series to ``path`` and return the number of rows (samples).

    Columns: series int32, query_index int64, sample_index int32, scheduled_ns int64 (closed loops:
    0), sut_index int16 (offline: -1, chosen on the way). An unbounded plan gives the queries after
    which it repeats. The file appears whole or not at all; a full disk is a RunError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    rows = 0

    def write(partial: Path) -> None:
        nonlocal rows
        with pq.ParquetWriter(partial, _schema(), write_page_checksum=True) as writer:
            for spec in series_specs(settings, counts):
                plan = plan_series(settings, counts, spec, trace_ns)
                for start in range(0, len(plan.samples), _ROWS_AT_ONCE):
                    columns = _columns(plan, start, start + _ROWS_AT_ONCE)
                    writer.write_table(pa.table(columns, schema=_schema()))
                rows += len(plan.samples)

    try:
        atomic_write(path, write)
    except OSError as error:
        raise RunError(f"{path}: cannot write the plan: {error.strerror or error}") from None
    return rows


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("series", pa.int32()),
            ("query_index", pa.int64()),
            ("sample_index", pa.int32()),
            ("scheduled_ns", pa.int64()),
            ("sut_index", pa.int16()),
        ]
    )


def _columns(plan: SeriesPlan, start: int, stop: int) -> dict[str, npt.NDArray[np.generic]]:
    samples = plan.samples[start:stop]
    query = np.arange(start, start + len(samples), dtype=np.int64) // plan.samples_per_query
    suts = plan.sut_index[query] if len(plan.sut_index) else np.full(len(query), _PULLED_SUT)
    return {
        "series": np.full(len(samples), plan.spec.index, dtype=np.int32),
        "query_index": query,
        "sample_index": samples,
        "scheduled_ns": plan.scheduled_ns[query],
        "sut_index": suts.astype(np.int16),
    }
