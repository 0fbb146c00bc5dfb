"""Both reports say what became of the sequences; those of other runs do not speak of any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from report_pages import page_of
from series_builder import COUNTS, MS, Series, closed, fail_rows, records_of
from series_summary import summary_of

from loadgen_service.core.facts.run import WorkerFacts
from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.report.text import render


def played() -> Series:
    """Three sequences of four requests: one whole, one cut, one with a failure."""
    settings = Settings(scenario="concurrency", sequences="f")
    made = Series(settings)
    counts = SampleCounts(COUNTS.total, COUNTS.performance, SequenceSet.of([[0, 1, 2, 3]]))
    made.plan = plan_series(settings, counts, series_specs(settings, counts)[0])
    rows = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])
    made.records = records_of(made.plan, rows, 5 * MS, rows * MS)
    made.workers = [WorkerFacts(0, issued_count=len(rows), ended_by="stop")]
    fail_rows(made.records, rows == 7, Status.FAILED)
    return made


def test_the_text_counts_them_and_says_how_long_they_took() -> None:
    text = render(summary_of(played()))
    assert "3 sequences: 1 completed, 1 cut, 1 failed, 0 lost" in text
    assert next(line for line in text.splitlines() if "duration of a sequence" in line).split()[
        4:6
    ] == ["8", "ms"]


def test_the_page_has_a_section_of_them(tmp_path: Path) -> None:
    page = page_of(played(), tmp_path)
    assert ">Sequences<" in page
    assert "duration of a sequence" in page
    assert "requests of a sequence" in page


def test_other_runs_do_not_speak_of_sequences(tmp_path: Path) -> None:
    other = closed("concurrency", 100)
    assert "sequence" not in render(summary_of(other))
    assert ">Sequences<" not in page_of(other, tmp_path)
