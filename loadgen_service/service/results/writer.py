"""From durable batches to the files of a run: exact figures, verdict, Parquet, report.

Everything here is derived from settings, facts and segments, so it can be made again after the
service died. Blocking: call it from a thread.

Accuracy of a run: kept responses joined with the samples that their requests carried.

tokens.parquet: the arrival of every piece of every streamed answer. Blocking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

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
from loadgen_service.plain_yaml import dump_yaml
from loadgen_service.qsl.scoring import TopScorer
from loadgen_service.service.results.mlperf_logs import (
    note_without_logs,
    place_official_logs,
    wants_logs,
    write_logs,
)
from loadgen_service.service.results.scraped_files import write_sut_metrics
from loadgen_service.service.results.trace_export import RunTraces
from loadgen_service.service.storage.column_storage import column_maker, free_memory_bytes
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_damage import keep_damaged
from loadgen_service.service.storage.segment_reader import read_columns, read_responses, read_tokens

Labels = np.ndarray[Any, np.dtype[Any]]


def score_series(
    directory: RunDirectory, plans: Sequence[SeriesPlan], labels: Labels
) -> dict[str, float]:
    """Top-1 and top-5 over all accuracy sets; a request without an answer counts as wrong.

    Raises RunError for responses that cannot be scored.
    """
    scorer = TopScorer(labels)
    for plan in plans:
        _score_one(scorer, directory, plan)
    return scorer.result()


def _score_one(scorer: TopScorer, directory: RunDirectory, plan: SeriesPlan) -> None:
    answered = np.zeros(plan.request_count, np.bool_)
    for row, response in read_responses(directory.segments(plan.spec.index)):
        if not 0 <= row < plan.request_count or answered[row]:
            continue  # a stranger or a double is the request table's business
        answered[row] = True
        scorer.add(_samples_of(plan, row), response)
    for row in np.flatnonzero(~answered).tolist():
        scorer.miss(_samples_of(plan, row))


def _samples_of(plan: SeriesPlan, row: int) -> Labels:
    start, stop = plan.request_span(row)
    return plan.samples[start:stop]


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


@dataclass(frozen=True, slots=True)
class Results:
    """What the files of a run are written from: complete before the first step."""

    directory: RunDirectory
    material: Material
    logs: Sequence[SeriesLog]
    summary: Summary

    @property
    def settings(self) -> Settings:
        """As the user gave them."""
        return self.material.settings


def write_results(directory: RunDirectory, material: Material) -> Summary:
    """Make every file of the run directory and return the summary, written last.

    Raises RunError naming the file where the disk refuses.
    """
    # first: a run whose results cannot be written still says what was asked for
    directory.write_text("settings.yaml", settings_yaml(material.settings))
    material = replace(material, facts=result_facts(directory, material))
    results = _measured(directory, material)
    for _, write in STEPS:
        write(results)
    return results.summary


def result_facts(directory: RunDirectory, material: Material) -> RunFacts:
    """The run's facts with what its batches add: damage, accuracy, peak, official logs."""
    settings, facts = material.settings, material.facts
    # damaged batches become gaps, which the verdict names; their files are kept
    damage = keep_damaged(directory, [plan.spec.index for plan in material.plans])
    accuracy, accuracy_note = _accuracy(directory, material)
    peak = _peak(material)
    official = settings.engine == "mlcommons"
    notes = (accuracy_note, peak.note, note_without_logs(settings))
    return replace(
        facts,
        accuracy=accuracy if accuracy is not None else facts.accuracy,
        rated_series=peak.rated_series,
        peak_qps=peak.peak_qps,
        official=place_official_logs(directory, material.plans) if official else facts.official,
        gaps=(*facts.gaps, *damage.gaps),
        notes=(*facts.notes, *damage.notes, *filter(None, notes)),
    )


def _measured(directory: RunDirectory, material: Material) -> Results:
    """One pass over the batches: records.parquet, figures, verdicts, spans, scraped metrics."""
    settings, facts = material.settings, material.facts
    traces = RunTraces(settings, facts)
    series, logs = _write_records(directory, material, traces)
    windows = {
        plan.spec.index: figures.elapsed_ns
        for plan, figures, _ in series
        if figures.elapsed_ns is not None
    }
    exported = traces.export()
    summary = build_summary(
        settings,
        facts,
        series,
        notes=[exported] if exported else [],
        sut_metrics=write_sut_metrics(directory, settings, windows),
        checksums=SUMS_FILE,
    )
    return Results(directory, material, logs, summary)


def _write_responses_file(results: Results) -> None:
    if results.settings.keeps_responses:
        write = partial(_write_responses, directory=results.directory, plans=results.material.plans)
        results.directory.write_whole("responses.parquet", write)


def _write_tokens_file(results: Results) -> None:
    if results.settings.record_tokens:
        write = partial(write_tokens, directory=results.directory, plans=results.material.plans)
        results.directory.write_whole("tokens.parquet", write)


def _write_mlperf_logs(results: Results) -> None:
    material = results.material
    if wants_logs(material.settings):
        read_table = partial(_read_table, results.directory, material)
        write_logs(results.directory, material.settings, material.facts, results.logs, read_table)


def _write_report(results: Results) -> None:
    results.directory.write_text("report.txt", _rendered(results.summary))


def _write_page(results: Results) -> None:
    page = _page(results.summary, results.directory.path)
    results.directory.write_text("report.html", page)


def _write_summary(results: Results) -> None:
    results.directory.write_summary("summary.json", summary_to_json(results.summary))


STEPS: Final[tuple[tuple[str, Callable[[Results], None]], ...]] = (
    ("responses.parquet", _write_responses_file),
    ("tokens.parquet", _write_tokens_file),
    ("mlperf_log_*", _write_mlperf_logs),
    ("report.txt", _write_report),
    ("report.html", _write_page),
    ("summary.json", _write_summary),
)
"""What is written once everything is known, in this order. A directory with summary.json is whole.

A new file of the run directory is a step here.
"""


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
    return dump_yaml(given)


def _accuracy(directory: RunDirectory, material: Material) -> tuple[dict[str, float] | None, str]:
    """Scores of the accuracy sets, and why there are none; no words where none were asked for."""
    plans = [plan for plan in material.plans if plan.spec.kind == "accuracy"]
    if not plans:
        return None, ""
    if material.labels is None:
        return None, "accuracy was not scored: the data set has no labels"
    try:
        return score_series(directory, plans, material.labels) or None, ""
    except LoadgenError as error:
        # The measurement stands; the accuracy is missing, and that is said and judged.
        return None, f"accuracy was not scored: {error}"


class _Peak(NamedTuple):
    """The run of a peak search that speaks for all, its rate, and how the search ended."""

    rated_series: int | None
    peak_qps: float | None
    note: str


def _peak(material: Material) -> _Peak:
    settings, facts = material.settings, material.facts
    measured = [plan for plan in material.plans if plan.spec.kind == "performance"]
    if not settings.searches_peak or not measured:
        return _Peak(facts.rated_series, facts.peak_qps, "")
    search, _ = replay(settings, facts.searched)
    rated = measured[search.peak_run or 0].spec.index
    return _Peak(rated, search.peak_qps, ending(settings, search))


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
