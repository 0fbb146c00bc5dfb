"""Run directories without a run: a made-up series, its records and its summary on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from report_pages import written
from series_builder import Series, closed, server
from series_summary import summary_of

from loadgen_service.core.plan.mt19937 import RandomWords
from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.run import Summary, summary_to_json

MS = 1_000_000


def saved(made: Series, directory: Path, **changed: object) -> Path:
    """Write records.parquet and summary.json; ``changed`` replaces fields of the summary."""
    directory.mkdir(parents=True)
    summary = summary_of(made).model_copy(update=changed)
    written(made, directory)
    (directory / "summary.json").write_text(summary_to_json(summary))
    return directory


def spread(made: Series, mean_ms: float, seed: int) -> Series:
    """Latencies between half of and one and a half times ``mean_ms``."""
    count = len(made.records["row"])
    latency = mean_ms * MS * (0.5 + RandomWords(seed).canonical_many(count))
    done = made.records["scheduled_ns"] + latency.astype(np.int64)
    made.records["completed_ns"] = made.records["first_response_ns"] = done
    return made


def server_run(directory: Path, mean_ms: float = 20, seed: int = 1, **changed: object) -> Path:
    made = server(target_qps=500, min_duration_ms=8000, target_latency_ms=100, dataset="digits")
    spread(made, mean_ms, seed)
    return saved(made, directory, **{"workload_hash": "w", **changed})


def offline_run(directory: Path, answers_a_second: int) -> Path:
    made = Series(Settings(scenario="offline", target_qps=400, min_duration_ms=2000))
    count = len(made.records["row"])
    step = 1_000_000_000 // answers_a_second
    made.records["released_ns"] = made.records["issued_ns"] = np.zeros(count, dtype=np.int64)
    done = np.arange(1, count + 1, dtype=np.int64) * step
    made.records["completed_ns"] = made.records["first_response_ns"] = done
    return saved(made, directory, workload_hash="w")


def stream_run(directory: Path, mean_ms: float, seed: int = 1) -> Path:
    made = closed("single_stream", 400)
    scale = mean_ms * MS * (0.9 + 0.2 * RandomWords(seed).canonical_many(400))
    made.records["completed_ns"] = made.records["scheduled_ns"] + scale.astype(np.int64)
    return saved(made, directory, workload_hash="w")


def metric(summary: Summary) -> float:
    assert summary.metric
    assert summary.metric.value
    return summary.metric.value
