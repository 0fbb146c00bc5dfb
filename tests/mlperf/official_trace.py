"""Reads an official run back: its settings, its detail log, and the instants of its trace."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadgen_service.core.facts.run import RunFacts, SeriesFacts, WorkerFacts
from loadgen_service.core.figures.series import series_figures
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, plan_series, series_specs
from loadgen_service.core.records.columns import NEVER, REQUEST_COLUMNS, Status
from loadgen_service.core.records.request_table import RequestTable, assemble
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.judge import judge
from loadgen_service.mlperf.logs.inputs import Build, LogInputs, Notice, SeriesLog, series_log

SAMPLES = Path(__file__).parent.parent / "data" / "mlperf"
PREFIX = ":::MLLOG "
SCENARIO = {
    "SingleStream": "single_stream",
    "MultiStream": "multi_stream",
    "Server": "server",
    "Offline": "offline",
}
MODE = {
    "PerformanceOnly": "performance",
    "AccuracyOnly": "accuracy",
    "SubmissionRun": "submission",
    "FindPeakPerformance": "find_peak",
}
SAMPLE = re.compile(
    r'"name":"(Sample|Token)".*"ph":"b".*"ts":([-\d.]+),'
    r'"args":\{"sample_seq":(\d+),"query_seq":(\d+),'
    r'"sample_idx":\d+,"issue_start_ns":(-?\d+),"complete_ns":(-?\d+)'
)
COUNTER = re.compile(
    r'"Token_Latency".*"ts":([-\d.]+),"args":\{ "issue_delay":(-?\d+),"issue_to_done":(-?\d+)'
)
BUILD_KEYS = ("version", "build_date_local", "build_date_utc", "git_commit_date",
              "git_log_message", "git_status_message", "file_sha1")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of a detail log."""

    key: str
    value: Any
    time_ns: int
    metadata: dict[str, Any]
    text: str

    @property
    def is_of_the_logger(self) -> bool:
        """Whether LoadGen's logger warns of itself: its memory, or two threads at one slot.

        It depends on how the threads of that run met, not on the settings.
        """
        said = ("Logging allocation detected", "CAS failed.")
        return self.key == "warning_generic_message" and str(self.value).startswith(said)


def read_detail(path: Path) -> list[Logged]:
    """Every line; those that are not JSON (-nan) with their bare text as value."""
    found = []
    for line in path.read_text().splitlines():
        assert line.startswith(PREFIX)
        clean = re.sub(r'"value": (-nan|-?inf)', r'"value": "\1"', line.removeprefix(PREFIX))
        entry = json.loads(clean)
        time_ns = round(entry["time_ms"] * 1e6)
        found.append(Logged(entry["key"], entry["value"], time_ns, entry["metadata"], line))
    return found


def first_values(detail: list[Logged]) -> dict[str, Any]:
    """Of each key its first value, as the parsers of logs take it."""
    values: dict[str, Any] = {}
    for one in detail:
        values.setdefault(one.key, one.value)
    return values


def counts_of(values: dict[str, Any]) -> SampleCounts:
    return SampleCounts(
        values["qsl_reported_total_count"], values["qsl_reported_performance_count"]
    )


def our_settings(values: dict[str, Any], **changed: Any) -> Settings:
    """Our settings of a run whose detail log says ``values``."""
    asked = {k.removeprefix("requested_"): v for k, v in values.items() if "requested_" in k}
    same = {name: asked[name] for name in asked if name in Settings.model_fields}
    prefix = {"SingleStream": "single_stream_", "MultiStream": "multi_stream_"}.get(
        asked["scenario"], "server_"
    )
    fields = same | {
        "scenario": SCENARIO[asked["scenario"]],
        "mode": MODE[asked["test_mode"]],
        "target_qps": asked.get("server_target_qps", asked.get("offline_expected_qps", 1.0)),
        "performance_sample_count": asked["performance_sample_count_override"],
        "accuracy_sample_count": asked["accuracy_sample_count_override"],
        "coalesce_queries": asked.get("server_coalesce_queries", False),
        "max_async_queries": asked.get("server_max_async_queries", 0),
        "target_latency_ms": asked.get("server_target_latency_ns", 0) / 1e6,
        "find_peak_decimals_of_precision": asked.get(
            "server_find_peak_qps_decimals_of_precision", 1
        ),
        "find_peak_boundary_step_size": asked.get("server_find_peak_qps_boundary_step_size", 1),
        "use_token_latencies": asked.get("use_token_latencies", False),
        "ttft_latency_ms": asked.get("server_ttft_latency", 100_000_000) // 1_000_000,
        "tpot_latency_ms": asked.get("server_tpot_latency", 100_000_000) // 1_000_000,
        "infer_token_latencies": any("inferred" in key for key in values),
        "token_latency_scaling_factor": 69 if any("inferred" in key for key in values) else 0,
        "strict_loadgen": True,
    }
    if f"{prefix}expected_latency_ns" in asked:
        fields["expected_latency_ms"] = asked[f"{prefix}expected_latency_ns"] / 1e6
    if "multi_stream_samples_per_query" in asked:
        fields["samples_per_query"] = asked["multi_stream_samples_per_query"]
    if f"{prefix}target_latency_percentile" in asked:
        fields["target_latency_percentile"] = round(
            asked[f"{prefix}target_latency_percentile"] * 100, 6
        )
    return Settings(**{**fields, **changed})


def official_settings(values: dict[str, Any]) -> dict[str, Any]:
    """The official settings that ask for what ``values`` says was requested."""
    fields = {}
    for key, value in values.items():
        name = key.removeprefix("requested_")
        if name == key:
            continue
        name = {"test_mode": "mode", "server_ttft_latency": "ttft_latency"}.get(name, name)
        fields[{"server_tpot_latency": "tpot_latency"}.get(name, name)] = value
    if any("inferred" in key for key in values):
        fields |= {"infer_token_latencies": True, "token_latency_scaling_factor": 69}
    return fields


@dataclass(frozen=True, slots=True)
class Instants:
    """Of each sample, by sequence number, in ns since the trace's zero; -1 where unknown."""

    query: np.ndarray
    scheduled: np.ndarray
    issued: np.ndarray
    first: np.ndarray
    completed: np.ndarray
    zero_unix_ns: int


def read_trace(path: Path) -> Instants:
    rows: dict[int, list[int]] = {}
    first: dict[int, int] = {}
    by_due: dict[int, int] = {}
    zero = 0
    for line in path.read_text().splitlines():
        if found := SAMPLE.search(line):
            due = round(float(found[2]) * 1000)
            if found[1] == "Token":
                first[int(found[3])] = due + int(found[6])
            else:
                rows[int(found[3])] = [int(found[4]), due, due + int(found[5]), due + int(found[6])]
        elif found := COUNTER.search(line):
            due = round(float(found[1]) * 1000)
            by_due[due] = due + int(found[2]) + int(found[3])
        elif line.startswith('"ts":'):
            zero = round(float(line[5:].rstrip(",")) * 1000)
    size = max(rows) + 1 if rows else 0
    table = np.full((size, 5), NEVER, dtype=np.int64)
    for seq, (query, due, issued, completed) in rows.items():
        table[seq] = query, due, issued, first.get(seq, by_due.get(due, NEVER)), completed
    return Instants(*table.T, zero_unix_ns=zero)


def rebuilt(
    settings: Settings, values: dict[str, Any], detail: list[Logged], trace: Instants, tokens: Any
) -> LogInputs:
    """Our inputs of the official run: its instants in our table, judged by our figures."""
    counts, offset, series = counts_of(values), 0, []
    facts: list[SeriesFacts] = []
    plans = [plan_series(settings, counts, spec) for spec in series_specs(settings, counts)]
    pieces = []
    for plan in plans:
        size = plan.generated_query_count * plan.samples_per_query
        piece = slice(offset, min(offset + size, len(trace.query)))
        offset += size
        start = _start(settings, values, plan, trace, piece)
        facts.append(_facts(plan, detail, trace, start, len(trace.query[piece])))
        pieces.append((piece, start))
    run = RunFacts("run", "", "", facts, total_sample_count=counts.total,
                   performance_sample_count=counts.performance)  # fmt: skip
    for plan, own, (piece, start) in zip(plans, facts, pieces, strict=True):
        table = _table(plan, own, trace, piece, start, tokens)
        figures = series_figures(settings, plan, table, own)
        verdict = judge(settings, plan, figures, run)
        series.append(series_log(settings, run, plan, table, figures, verdict))
    return inputs_of(settings, values, detail, run, series, trace.zero_unix_ns)


def inputs_of(
    settings: Settings, values: dict[str, Any], detail: list[Logged], run: RunFacts,
    series: list[SeriesLog], zero_unix_ns: int,
) -> LogInputs:  # fmt: skip
    keys = ("warning_generic_message", "error_invalid_config", "error_invalid_test_settings")
    said = [Notice(one.key, one.value) for one in detail  # type: ignore[arg-type]
            if one.key in keys and not one.is_of_the_logger]  # fmt: skip
    return LogInputs(
        settings=settings,
        facts=run,
        series=series,
        sut_name=values["sut_name"],
        qsl_name=values["qsl_name"],
        sut_name_duration_ns=values["get_sut_name_duration_ns"],
        start_unix_ns=zero_unix_ns,
        pid=detail[0].metadata["pid"],
        build=Build(**{name: values[f"loadgen_{name}"] for name in BUILD_KEYS}),
        notices=said,
    )


def _start(
    settings: Settings, values: dict[str, Any], plan: SeriesPlan, trace: Instants, piece: slice
) -> int:
    """The series' start. Streams: not in the trace, only in the rate with overhead."""
    first = int(trace.scheduled[piece].min())
    if said := re.search(r"duration_ns (\d+)", str(values.get("error_runtime"))):
        return int(trace.issued[piece].max()) - int(said[1])
    rate = values.get("result_qps_with_loadgen_overhead")
    if settings.scenario == "single_stream" and isinstance(rate, float | int) and rate:
        last = int(trace.issued[piece].max())
        count = len(trace.query[piece])
        return min(first, last - round((count - 1) / rate * 1e9))
    return first


def _facts(
    plan: SeriesPlan, detail: list[Logged], trace: Instants, start: int, count: int
) -> SeriesFacts:
    texts = " ".join(str(one.value) for one in detail if one.metadata["is_error"])
    ended = "minima" if any("naturally" in str(one.value) for one in detail) else "plan"
    for words, name in (("Max query", "max_query_count"), ("Max test", "max_duration"),
                        ("outstanding", "max_async_queries"), ("Ran out", "ran_out")):  # fmt: skip
        ended = name if words in texts else ended
    requests = -(-count // plan.samples_per_request)
    worker = WorkerFacts(0, issued_count=requests, ended_by=ended)
    return SeriesFacts(plan.spec.index, [worker], start_unix_ns=trace.zero_unix_ns + start)


def _table(
    plan: SeriesPlan, facts: SeriesFacts, trace: Instants, piece: slice, start: int, tokens: Any
) -> RequestTable:
    count = len(trace.query[piece])
    columns = {
        "row": np.arange(count),
        "scheduled_ns": trace.scheduled[piece] - start,
        "released_ns": trace.issued[piece] - start,
        "issued_ns": trace.issued[piece] - start,
        "first_response_ns": np.where(
            trace.first[piece] == NEVER, NEVER, trace.first[piece] - start
        ),
        "completed_ns": trace.completed[piece] - start,
        "status": np.full(count, Status.COMPLETED),
        "code": np.zeros(count),
        "sut_index": np.zeros(count),
        "token_count": np.resize(tokens or [0], count),
    }
    typed = {name: columns[name].astype(kind) for name, kind in REQUEST_COLUMNS.items()}
    return assemble(plan, typed, facts, [range(plan.request_count)])
