"""Runs as JSON for the page: a line in the list, and everything about one of them."""

from __future__ import annotations

import json
from typing import Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.core.figures.figure import figures_of
from loadgen_service.core.units import NS_PER_MS, NS_PER_S
from loadgen_service.service.run.mixed_run import MixedRun
from loadgen_service.service.run.run import Run

PAGE_FILES: Final = {
    "report.html": "text/html; charset=utf-8",
    "report.txt": "text/plain; charset=utf-8",
    "summary.json": "application/json",
    "settings.yaml": "text/plain; charset=utf-8",
    "records.parquet": "application/octet-stream",
    "SHA256SUMS": "text/plain; charset=utf-8",
}
"""What of a run directory the page offers, and as what."""

Json = dict[str, object]


def run_line(run: Run) -> Json:
    """One run in the list."""
    settings = run.settings
    return {
        "id": run.run_id,
        "state": run.state.name.lower(),
        "outcome": run.outcome,
        "stream": run.stream_name,
        "scenario": settings.scenario,
        "mode": settings.mode,
        "model": settings.model,
        "directory": run.directory.path.name,
    }


def detail(run: Run | MixedRun) -> Json:
    """Everything about one run; of a mixed one that of each stream."""
    if isinstance(run, Run):
        return run_detail(run)
    return {
        "id": run.run_id,
        "state": run.state.name.lower(),
        "scenario": "mixed",
        "directory": run.directory.path.name,
        "streams": [run_detail(stream) for stream in run.streams],
    }


def run_detail(run: Run) -> Json:
    """Everything the page shows of one run."""
    status, settings = run.status(), run.settings
    return {
        **run_line(run),
        "series": status.series_name,
        "series_index": status.series_index,
        "series_count": status.series_count,
        "elapsed_s": status.elapsed_ns / NS_PER_S,
        "planned_s": status.planned_ns / NS_PER_S,
        "target_qps": settings.target_qps,
        "limit_ms": settings.latency_limit_ns / NS_PER_MS,
        "stop_requests": run.stop_requests,
        "queries": _counts(status.queries),
        "live": _live(status.live),
        "suts": [_sut(sut) for sut in status.suts],
        "workers": [_worker(worker) for worker in status.workers],
        "notes": list(status.notes),
        "error": run.error,
        "result": _result(run.summary_json) if run.is_over else None,
        "files": _files(run) if run.is_over else [],
    }


def _counts(counts: pb.Counts) -> Json:
    names = ("planned", "not_issued", "issued", "completed", "failed", "timed_out")
    return {name: getattr(counts, name) for name in names}


def _live(live: pb.LiveFigures) -> Json:
    return {
        "completed_qps": live.completed_qps,
        "outstanding": live.outstanding,
        "p50_ms": live.latency_ns_p50 / NS_PER_MS,
        "p90_ms": live.latency_ns_p90 / NS_PER_MS,
        "p99_ms": live.latency_ns_p99 / NS_PER_MS,
        "max_ms": live.latency_ns_max / NS_PER_MS,
        "delay_p99_ms": live.issue_delay_ns_p99 / NS_PER_MS,
        "ttft_p50_ms": live.ttft_ns_p50 / NS_PER_MS,
        "ttft_p99_ms": live.ttft_ns_p99 / NS_PER_MS,
        "tokens_per_second": live.tokens_per_second,
    }


def _sut(sut: pb.SutStatus) -> Json:
    return {
        "address": sut.address,
        "completed": sut.queries.completed,
        "errors": sut.queries.failed + sut.queries.timed_out,
        "p99_ms": sut.latency_ns_p99 / NS_PER_MS,
    }


def _worker(worker: pb.WorkerStatus) -> Json:
    return {
        "index": worker.worker_index,
        "host": worker.host,
        "pid": worker.pid,
        "lost": worker.lost,
        "figures": [
            {"label": figure.label, "unit": figure.unit, "value": worker.report.figures.get(name)}
            for name, figure in figures_of(WorkerReport).items()
            if figure.metric
        ],
    }


def _result(summary_json: str) -> Json | None:
    """The verdict with its reasons, and the figures of the headline."""
    if not summary_json:
        return None
    summary = json.loads(summary_json)
    latency = summary["latency_ns"] or {}
    return {
        "valid": summary["valid"],
        "state": summary["state"],
        "reason": summary["invalid_reason"],
        "findings": [
            {key: finding.get(key) for key in ("name", "met", "measured", "required", "advice")}
            for finding in summary["findings"]
        ],
        "metric": summary["metric"],
        "counts": summary["counts"]["queries"],
        "completed_qps": summary["completed_qps"],
        "latency_ms": {
            name: latency[name] / NS_PER_MS
            for name in ("p50", "p90", "p99", "max")
            if latency.get(name) is not None
        },
        "accuracy": summary["accuracy"],
    }


def _files(run: Run) -> list[str]:
    return [name for name in PAGE_FILES if (run.directory.path / name).is_file()]
