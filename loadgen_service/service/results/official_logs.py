"""The official LoadGen's log files: put into the run directory unchanged, and read for its verdict.

They come from the one worker as pieces among its batches. Blocking: call it from a thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from loadgen_service.core.facts.run import OfficialFacts
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.errors import RunError
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_reader import read_files

LINE_MARK: Final = ":::MLLOG "
DETAIL_FILE: Final = "mlperf_log_detail.txt"
ALLOWED: Final = frozenset(
    {"mlperf_log_summary.txt", DETAIL_FILE, "mlperf_log_accuracy.json", "mlperf_log_trace.json"}
)
"""What a worker may write into a run directory; anything else is refused."""

ERRORS_NAMED: Final = 3

FIGURES: Final = (
    "result_scheduled_samples_per_sec",
    "result_completed_samples_per_sec",
    "result_samples_per_second",
    "early_stopping_latency_ss",
    "early_stopping_latency_ms",
    "result_mean_latency_ns",
    "result_50.00_percentile_latency_ns",
    "result_90.00_percentile_latency_ns",
    "result_99.00_percentile_latency_ns",
    "result_max_latency_ns",
)
"""Result keys that the summary repeats, to stand beside our own."""


def place_official_logs(
    directory: RunDirectory, plans: Sequence[SeriesPlan]
) -> OfficialFacts | None:
    """Write the files that the worker sent; what the detail log says, None where none came.

    Raises RunError naming the file where the disk refuses, or a piece that does not belong here.
    """
    contents: dict[str, list[bytes]] = {}
    for plan in plans:
        for name, offset, content in read_files(directory.segments(plan.spec.index)):
            pieces = contents.setdefault(name, [])
            if name not in ALLOWED or offset != sum(map(len, pieces)):
                raise RunError(f"{name!r} from a worker is no whole official log; run again")
            pieces.append(content)
    for name, pieces in contents.items():
        directory.write_whole(name, partial(_write, pieces))
    if DETAIL_FILE not in contents:
        return None
    return read_detail(directory.path / DETAIL_FILE)


def _write(pieces: Sequence[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)


def read_detail(path: Path) -> OfficialFacts:
    """What a detail log says: version, verdict, counts, errors."""
    values: dict[str, Any] = {}
    errors: list[str] = []
    error_count = 0
    for entry in _entries(path):
        values[entry["key"]] = entry["value"]
        if entry["metadata"]["is_error"]:
            error_count += 1
            if len(errors) < ERRORS_NAMED:
                errors.append(f"{entry['key']}: {entry['value']}")
    verdict = values.get("result_validity")
    count = values.get("result_query_count")
    return OfficialFacts(
        version=str(values.get("loadgen_version", "")).partition(" ")[0],
        valid=None if verdict is None else verdict == "VALID",
        reason=str(values.get("result_invalid_reason", "")).strip(),
        query_count=int(count) if isinstance(count, int) else None,
        error_count=error_count,
        errors=tuple(errors),
        figures={name: values[name] for name in FIGURES if _is_number(values.get(name))},
    )


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Lines that are JSON; LoadGen writes -nan where a run has a single query."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith(LINE_MARK):
                continue
            try:
                yield json.loads(line[len(LINE_MARK) :])
            except json.JSONDecodeError:
                continue


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
