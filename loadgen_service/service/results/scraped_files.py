"""Files of scraped metrics: JSON lines while a run goes on, then ``sut_metrics.parquet``.

The lines lie beside the records' segments and go with them, so a run that a dead service left
behind gets its metrics too. Blocking: call it from a thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from loadgen_service.core.facts.scraped_metrics import (
    Instant,
    Sample,
    ScrapedTarget,
    TargetReadings,
    instant_of,
)
from loadgen_service.core.settings import Settings
from loadgen_service.service.storage.journal import entries_of, read_journal
from loadgen_service.service.storage.run_directory import RunDirectory

SUT_METRICS_FILE: Final = "sut_metrics.parquet"
ROWS_A_GROUP: Final = 1 << 16
"""Bounds the memory of writing: some 10 MB of names and labels."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading: when it was asked for (the service's monotonic clock), how long it took, what
    it gave, or the cause why it gave nothing."""

    at_ns: int
    took_ns: int
    failure: str = ""
    samples: Sequence[Sample] = field(default=())


def readings_file(directory: RunDirectory, target_index: int) -> Path:
    """The lines of one address; below ``series/``, which is dropped once results are written."""
    return directory.path / "series" / f"sut-metrics-{target_index:02d}.jsonl"


def append_reading(path: Path, reading: Reading) -> None:
    """Append one line. Raises OSError where the disk refuses."""
    line = json.dumps(asdict(reading), separators=(",", ":")) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(line.encode())


def read_readings(path: Path) -> Iterator[Reading]:
    """Every whole line; one that a dying service or a full disk cut is left out."""
    try:
        file = open(path, "rb")  # noqa: SIM115 -- closed below; absence is no error
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                found = json.loads(line)
                samples = [(str(n), dict(labels), float(v)) for n, labels, v in found["samples"]]
                yield Reading(found["at_ns"], found["took_ns"], found["failure"], samples)
            except (ValueError, LookupError, TypeError, RecursionError):
                continue


def write_sut_metrics(
    directory: RunDirectory, settings: Settings, windows: Mapping[int, int]
) -> list[ScrapedTarget] | None:
    """Write ``sut_metrics.parquet``; its figures for the summary, None where nobody asked.

    ``windows``: series -> how long it measured, in ns. Raises RunError where the disk refuses.
    """
    if not settings.sut_metrics:
        return None
    starts = {e["series_index"]: e["t0_ns"] for e in _starts(directory)}
    targets: list[ScrapedTarget] = []

    def write(path: Path) -> None:
        targets.clear()
        with _MetricsWriter(path) as writer:
            for index, url in enumerate(settings.sut_metrics):
                readings = TargetReadings(url, windows)
                _take(readings, starts, read_readings(readings_file(directory, index)), writer)
                targets.append(readings.target())

    directory.write_whole(SUT_METRICS_FILE, write)
    return targets


def _starts(directory: RunDirectory) -> list[dict[str, Any]]:
    return entries_of(read_journal(directory.path), "start")


def _take(
    into: TargetReadings,
    starts: Mapping[int, int],
    readings: Iterator[Reading],
    writer: _MetricsWriter,
) -> None:
    for reading in readings:
        if reading.failure:
            into.fail(reading.failure)
        elif starts:
            instant = instant_of(starts, reading.at_ns)
            into.take(instant, reading.samples)
            writer.write(instant, into.url, reading.samples)


class _MetricsWriter:
    """One row a sample: series, time_ns (since its start), target, name, labels (JSON), value."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {
            "series": pa.int32(),
            "time_ns": pa.int64(),
            "target": pa.string(),
            "name": pa.string(),
            "labels": pa.string(),
            "value": pa.float64(),
        }
        self._schema = pa.schema(list(columns.items()))
        self._to_table = pa.table
        self._writer = pq.ParquetWriter(
            path, self._schema, compression="zstd", write_page_checksum=True
        )
        self._columns: dict[str, list[object]] = {name: [] for name in columns}

    def __enter__(self) -> _MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def write(self, instant: Instant, url: str, samples: Sequence[Sample]) -> None:
        columns = self._columns
        columns["series"] += [instant.series_index] * len(samples)
        columns["time_ns"] += [instant.time_ns] * len(samples)
        columns["target"] += [url] * len(samples)
        columns["name"] += [name for name, _, _ in samples]
        columns["labels"] += [json.dumps(labels, sort_keys=True) for _, labels, _ in samples]
        columns["value"] += [value for _, _, value in samples]
        if len(columns["value"]) >= ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._columns["value"]:
            self._writer.write_table(self._to_table(self._columns, schema=self._schema))
            self._columns = {name: [] for name in self._columns}
