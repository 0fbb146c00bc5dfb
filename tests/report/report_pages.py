"""Run directories and pages of made-up series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from series_builder import Series
from series_summary import summary_of

from loadgen_service.core.records.request_table import sample_table
from loadgen_service.report.html.run_page import render_html
from loadgen_service.service.results.writer import RECORD_SCHEMA


def written(made: Series, directory: Path) -> Path:
    """records.parquet of a made-up series, as the service writes it."""
    columns = sample_table(made.plan, made.table(), 0, len(made.table()))
    count = len(columns["seq_id"])
    whole = {
        name: np.asarray(columns.get(name, np.full(count, -1))).astype(dtype)
        for name, dtype in RECORD_SCHEMA.items()
    }
    pq.write_table(pa.table(whole), directory / "records.parquet")
    return directory


def page_of(made: Series, directory: Path) -> str:
    return render_html(summary_of(made), written(made, directory))
