"""From durable batches to the files of a run: exact figures, verdict, Parquet, report.

Everything here is derived from settings, facts and segments, so it can be made again after the
service died. Blocking: call it from a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from loadgen_service.checksums import SUMS_FILE
from loadgen_service.core.facts.run import RunFacts
from loadgen_service.core.figures.series import series_figures
from loadgen_service.core.plan.plan import SeriesPlan, shard_rows
from loadgen_service.core.records.columns import NEVER, PARQUET_COLUMNS
from loadgen_service.core.records.request_table import RequestTable, Shard, assemble, sample_table
from loadgen_service.core.records.sequence_rows import (
    SEQUENCE_COLUMNS,
    issued_rows,
    sequence_columns,
)
from loadgen_service.core.records.token_rows import TokenRows
from loadgen_service.core.search.peak_search import ending, replay
from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.run import (
    SeriesResult,
    Summary,
    build_summary,
    public_settings,
    summary_to_json,
)
from loadgen_service.core.verdict.judge import judge, series_facts
from loadgen_service.errors import LoadgenError
from loadgen_service.mlperf.logs.inputs import SeriesLog, series_log
from loadgen_service.service.results.accuracy import score_series
from loadgen_service.service.results.mlperf_logs import note_without_logs, wants_logs, write_logs
from loadgen_service.service.results.official_logs import place_official_logs
from loadgen_service.service.results.scraped_files import with_sut_metrics
from loadgen_service.service.results.token_files import write_tokens
from loadgen_service.service.results.trace_export import RunTraces
from loadgen_service.service.storage.column_storage import column_maker, free_memory_bytes
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_damage import keep_damaged
from loadgen_service.service.storage.segment_reader import read_columns, read_responses, read_tokens

PROMISES = frozenset({"latency", "ttft", "tpot"})
"""Findings that LoadGen's peak search calls the performance constraint."""

SAMPLES_A_ROW_GROUP = 1 << 20
"""Bounds the memory of writing: about 100 MiB of columns at once."""

RESPONSES_A_ROW_GROUP = 1 << 12
"""Responses may be large (logits of a thousand classes are 4 KiB)."""


@dataclass(frozen=True, slots=True)
class Material:
    """All that the results are made from, beside the segments. ``labels``: int64 by sample.

    ``stream_index``: of a stream of a mixed run.
    """

    settings: Settings
    facts: RunFacts
    plans: Sequence[SeriesPlan]
    worker_count: int
    labels: np.ndarray[Any, np.dtype[Any]] | None = None
    stream_index: int = 0


def write_results(directory: RunDirectory, material: Material) -> Summary:
    """Make every file of the run directory and return the summary, written last.

    Raises RunError naming the file where the disk refuses.
    """
    settings, plans = material.settings, material.plans
    directory.write_text("settings.yaml", settings_yaml(settings))
    material = _with_damage(directory, material)
    material = replace(material, facts=_with_accuracy(directory, material))
    material = replace(material, facts=_with_peak(material))
    if note := note_without_logs(settings):
        facts = material.facts
        material = replace(material, facts=replace(facts, notes=(*facts.notes, note)))
    if settings.engine == "mlcommons":
        official = place_official_logs(directory, plans)
        material = replace(material, facts=replace(material.facts, official=official))
    traces = RunTraces(settings, material.facts)
    results, logs = _write_records(directory, material, traces)
    if note := traces.export():
        notes = (*material.facts.notes, note)
        material = replace(material, facts=replace(material.facts, notes=notes))
    if settings.keeps_responses:
        directory.write_whole(
            "responses.parquet", lambda path: _write_responses(path, directory, plans)
        )
    if settings.record_tokens:
        directory.write_whole("tokens.parquet", lambda path: write_tokens(path, directory, plans))
    if wants_logs(settings):
        write_logs(
            directory, settings, material.facts, logs, partial(_read_table, directory, material)
        )
    summary = build_summary(settings, material.facts, results)
    summary = with_sut_metrics(summary, settings, directory)
    summary = summary.model_copy(update={"checksums": SUMS_FILE})
    directory.write_text("report.txt", _rendered(summary))
    directory.write_text("report.html", _page(summary, directory.path))
    directory.write_summary("summary.json", summary_to_json(summary))
    return summary


def _write_records(
    directory: RunDirectory, material: Material, traces: RunTraces
) -> tuple[list[SeriesResult], list[SeriesLog]]:
    """Write records.parquet; every series' result, and what LoadGen's logs say of it."""
    settings = material.settings
    results: list[SeriesResult] = []
    logs: list[SeriesLog] = []

    def write(path: Path) -> None:
        with _records_writer(path, record_schema(material.plans)) as write_table:
            for plan in material.plans:
                table = _read_table(directory, material, plan)
                tokens = read_tokens(directory.segments(plan.spec.index))
                result = _judged(material, plan, table, tokens)
                results.append(result)
                traces.add(plan, table)
                if wants_logs(settings):
                    logs.append(series_log(settings, material.facts, plan, table, *result[1:]))
                _write_samples(write_table, plan, table, material.stream_index)

    directory.write_whole("records.parquet", write)
    return results, logs


def _with_damage(directory: RunDirectory, material: Material) -> Material:
    """Batches that the disk damaged become gaps, which the verdict names; their files are kept."""
    damage = keep_damaged(directory, [plan.spec.index for plan in material.plans])
    facts = material.facts
    facts = replace(facts, gaps=(*facts.gaps, *damage.gaps), notes=(*facts.notes, *damage.notes))
    return replace(material, facts=facts)


def meets_latency_target(directory: RunDirectory, material: Material, plan: SeriesPlan) -> bool:
    """Whether a series' durable records meet the latency limit: the one condition of a search.

    ``material`` needs the facts of that series only. Blocking.
    """
    table = _read_table(directory, material, plan)
    _, _, verdict = _judged(material, plan, table)
    return all(one.met for one in verdict.findings if one.name in PROMISES)


def settings_yaml(settings: Settings) -> str:
    """What the user asked for, without the secrets of headers."""
    asked = public_settings(settings)
    given = {name: asked[name] for name in Settings.model_fields if name in asked}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True)


def _with_accuracy(directory: RunDirectory, material: Material) -> RunFacts:
    facts, labels = material.facts, material.labels
    accuracy_plans = [plan for plan in material.plans if plan.spec.kind == "accuracy"]
    if not accuracy_plans:
        return facts
    if labels is None:
        note = "accuracy was not scored: the data set has no labels"
        return replace(facts, notes=(*facts.notes, note))
    try:
        scores = score_series(directory, accuracy_plans, labels)
    except LoadgenError as error:
        # The measurement stands; the accuracy is missing, and that is said and judged.
        return replace(facts, notes=(*facts.notes, f"accuracy was not scored: {error}"))
    return replace(facts, accuracy=scores or None)


def _with_peak(material: Material) -> RunFacts:
    """The run of a peak search that speaks for all, and its rate."""
    settings, facts = material.settings, material.facts
    measured = [plan for plan in material.plans if plan.spec.kind == "performance"]
    if not settings.searches_peak or not measured:
        return facts
    search, _ = replay(settings, facts.searched)
    rated = measured[search.peak_run or 0].spec.index
    note = ending(settings, search)
    notes = (*facts.notes, note) if note else facts.notes
    return replace(facts, rated_series=rated, peak_qps=search.peak_qps, notes=notes)


def _read_table(directory: RunDirectory, material: Material, plan: SeriesPlan) -> RequestTable:
    facts = series_facts(material.facts, plan.spec.index)
    count, settings = material.worker_count, material.settings
    make = column_maker(directory.path, free_memory_bytes())
    columns = read_columns(directory.segments(plan.spec.index), make)
    if plan.sequences is None:
        shards: Sequence[Shard] = [shard_rows(plan, j, count, settings) for j in range(count)]
    else:
        shards = issued_rows(plan.sequences, columns, facts, count, settings.concurrency)
    return assemble(plan, columns, facts, shards, make)  # which empties the columns


def _judged(
    material: Material, plan: SeriesPlan, table: RequestTable, tokens: TokenRows | None = None
) -> SeriesResult:
    own = series_facts(material.facts, plan.spec.index)
    figures = series_figures(material.settings, plan, table, own, tokens)
    return plan, figures, judge(material.settings, plan, figures, material.facts)


def _rendered(summary: Summary) -> str:
    from loadgen_service.report.text import render

    text: str = render(summary)
    return text if text.endswith("\n") else text + "\n"


def _page(summary: Summary, directory: Path) -> str:
    from loadgen_service.report.html.run_page import render_html

    return render_html(summary, directory)


@contextmanager
def _records_writer(path: Path, columns: Mapping[str, Any]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, dtype in columns.items()]
    )
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:

        def write_table(columns: dict[str, Any]) -> None:
            writer.write_table(pa.table(columns, schema=schema))

        yield write_table


RECORD_SCHEMA: Mapping[str, Any] = {
    "series": "i4",
    "stream": "i4",
    "seq_id": "i8",
    "query_index": "i8",
    "request_index": "i8",
    "sample_index": "i4",
    "worker_index": "i2",
    **PARQUET_COLUMNS,
}
"""Columns of records.parquet: one row a sample; -1 is "never", server columns too."""


def record_schema(plans: Sequence[SeriesPlan]) -> Mapping[str, Any]:
    """``RECORD_SCHEMA``, and what only runs with sequences have."""
    if not any(plan.sequences is not None for plan in plans):
        return RECORD_SCHEMA
    return {**RECORD_SCHEMA, **dict.fromkeys(SEQUENCE_COLUMNS, "i8")}


def _write_samples(
    write_table: Any, plan: SeriesPlan, table: RequestTable, stream_index: int
) -> None:
    step = max(1, SAMPLES_A_ROW_GROUP // plan.samples_per_request)
    for start in range(0, len(table), step):
        columns = sample_table(plan, table, start, min(start + step, len(table)))
        if plan.sequences is not None:
            columns |= sequence_columns(plan.sequences, columns["request_index"].astype(np.int64))
        row_count = len(columns["seq_id"])
        columns["stream"] = np.full(row_count, stream_index, np.int32)
        write_table(
            {
                name: columns[name].astype(dtype, copy=False)
                if name in columns
                else np.full(row_count, NEVER, dtype)
                for name, dtype in record_schema([plan]).items()
            }
        )


def _write_responses(path: Path, directory: RunDirectory, plans: Sequence[SeriesPlan]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("series", pa.int32()), ("request_index", pa.int64()), ("response", pa.binary())]
    )
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for plan in plans:
            responses = read_responses(directory.segments(plan.spec.index))
            for rows, contents in _in_groups(responses):
                series = [plan.spec.index] * len(rows)
                writer.write_table(pa.table([series, rows, contents], schema=schema))


def _in_groups(
    responses: Iterator[tuple[int, bytes]],
) -> Iterator[tuple[list[int], list[bytes]]]:
    rows: list[int] = []
    contents: list[bytes] = []
    for row, content in responses:
        rows.append(row)
        contents.append(content)
        if len(rows) == RESPONSES_A_ROW_GROUP:
            yield rows, contents
            rows, contents = [], []
    if rows:
        yield rows, contents
