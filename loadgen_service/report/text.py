"""One run as plain text: report.txt, and what ``loadgen report DIR`` prints.

Says what the summary holds, in the order in which a reader asks; measures and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loadgen_service.core.figures.series import BurstFigures, SequenceFigures
from loadgen_service.core.figures.streams import StreamFigures
from loadgen_service.core.figures.tokens import TokenFigures
from loadgen_service.core.printable import printable
from loadgen_service.core.records.columns import CODE_BROKEN_CONNECTION
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.summary.parts import (
    CountsByLevel,
    MeasuredTimes,
    SeriesSummary,
    SutSummary,
    WorkerSummary,
)
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.verdict.findings.finding import Finding
from loadgen_service.report.formatting import (
    measured_times,
    report_said,
    say_count,
    say_metric,
    say_ns,
    say_peak,
    say_rate,
    say_verdict,
    table,
)
from loadgen_service.report.scraped_metrics import scraped_lines
from loadgen_service.report.server_stats import (
    HEAD,
    statistics_lacking,
    statistics_remarks,
    statistics_rows,
)
from loadgen_service.report.tokens import TPOT, TTFT, token_times

_COUNTS = ("planned", "not_issued", "issued", "completed", "failed", "timed_out", "lost")
_QUANTILES = ("min", "mean", "p50", "p90", "p95", "p97", "p99", "p99_9", "max")


def render(summary: Summary) -> str:
    """The whole report; ends in a newline."""
    parts: list[list[str]] = [_head(summary)]
    for series in summary.series:
        parts.append(_series(summary, series))
    parts += [scraped_lines(summary), _accuracy(summary), _notes(summary), _identity(summary)]
    return printable("\n\n".join("\n".join(part) for part in parts if part) + "\n")


def _head(summary: Summary) -> list[str]:
    settings, data = summary.settings, summary.dataset
    lines = [
        f"{say_verdict(summary.valid, summary.state)}: {summary.scenario}, {summary.mode}, "
        f"model {settings.get('model') or '-'}",
    ]
    if summary.invalid_reason:
        lines.append(f"  because {summary.invalid_reason}")
    lines.append(f"  LoadGen's own verdict: {_loadgen_verdict(summary)}")
    if peak := say_peak(summary):
        lines.append(f"  {peak}")
    if summary.metric:
        lines.append(f"  {say_metric(summary.metric)}")
    lines += [
        f"  run {summary.run_id}, started {summary.started_at or 'never'}",
        f"  data {data.name or '-'}: {say_count(data.total_sample_count)} samples, "
        f"{say_count(data.performance_sample_count)} loaded"
        + (
            f", preprocessing {say_ns(summary.preprocess_ns)} a sample"
            if summary.preprocess_ns
            else ""
        ),
    ]
    lines += [f"  sut {sut.sut_index}: {_sut_name(sut)}" for sut in summary.suts]
    return lines


def _loadgen_verdict(summary: Summary | SeriesSummary) -> str:
    word = say_verdict(summary.loadgen_valid)
    return f"{word} ({summary.loadgen_note})" if summary.loadgen_note else word


def _series(summary: Summary, series: SeriesSummary) -> list[str]:
    title = f"series {series.series_index} {series.name or series.kind}"
    verdict = say_verdict(series.valid)
    rate = say_rate(series.completed_qps)
    lines = [
        f"{title}: {verdict}, {say_ns(series.elapsed_ns)}, {rate} queries/s completed",
        *_counts(series.counts),
    ]
    if series.streams:
        lines += ["", *_streams(series, series.streams)]
    lines += ["", *_distributions(series)]
    if series.tokens:
        lines += ["", *_tokens(series.tokens)]
    if series.sequences:
        lines += ["", *_sequences(series.sequences)]
    if series.bursts:
        lines += ["", *_bursts(series.bursts)]
    if len(series.suts) > 1:
        lines += ["", *_breakdown("by SUT", [(_sut_name(s), s) for s in series.suts])]
    if len(series.workers) > 1:
        lines += ["", *_breakdown("by worker", [(_worker_name(w), w) for w in series.workers])]
    lines += ["", *(f"  worker {_worker_name(one)}: {report_said(one)}" for one in series.workers)]
    lines += _server_statistics(series.suts)
    if series.findings:
        lines += ["", *_findings(series.findings)]
    return lines + _errors(series)


def _counts(counts: CountsByLevel) -> list[str]:
    rows = [["", *(name.replace("_", " ") for name in _COUNTS)]]
    levels = {"queries": counts.queries, "samples": counts.samples, "requests": counts.requests}
    for level, of_level in levels.items():
        rows.append([level, *(say_count(getattr(of_level, name)) for name in _COUNTS)])
    return table(rows)


def _distributions(series: SeriesSummary) -> list[str]:
    measured = [(f"latency of a {series.latency_unit}", series.latency_ns)]
    measured += [
        (2 * figure.indent * " " + figure.label, found) for figure, found in measured_times(series)
    ]
    rows = [["", *(name.replace("_", ".") for name in _QUANTILES)]]
    rows += [[title, *_quantiles(found)] for title, found in measured if found]
    lines = table(rows) if len(rows) > 1 else ["  nothing was completed"]
    if series.hop_error_ns is not None:
        lines.append(f"  to the SUT and back: over two clocks, +- {say_ns(series.hop_error_ns)}")
    return lines


def _quantiles(found: Distribution) -> list[str]:
    return [say_ns(getattr(found, name)) for name in _QUANTILES]


def _tokens(tokens: TokenFigures) -> list[str]:
    limits = ", ".join(
        f"{name} {'met' if met else 'missed'}"
        for name, met in ((TTFT, tokens.ttft_met), (TPOT, tokens.tpot_met))
    )
    return [
        f"  LoadGen's token rules: {limits} (TPOT to the answer's end), "
        f"{say_rate(tokens.tokens_per_second)} tokens/s"
    ]


def _streams(series: SeriesSummary, streams: StreamFigures) -> list[str]:
    counted = ", ".join(f"{say_count(n)} by {who}" for who, n in streams.counted_by.items())
    goodput = ""
    if streams.goodput_limits_ns:
        limits = ", ".join(f"{k} <= {say_ns(v)}" for k, v in streams.goodput_limits_ns.items())
        goodput = f", goodput {say_rate(streams.goodput_qps)} queries/s within {limits}"
    lines = [f"  {say_rate(streams.output_tokens_per_second)} tokens/s{goodput}"]
    if times := token_times(series):
        rows = [["", *(name.replace("_", ".") for name in _QUANTILES)]]
        lines += table([*rows, *([name, *_quantiles(found)] for name, found in times)])
    lines.append(
        f"  {say_count(streams.stream_count)} streams of {say_count(streams.piece_count)} pieces; "
        f"output tokens {say_count(streams.output_token_count)} (counted {counted})"
    )
    if streams.input_token_count is not None:
        lines.append(f"  input tokens {say_count(streams.input_token_count)}")
    return lines


def _sequences(found: SequenceFigures) -> list[str]:
    ends = ("completed", "cut", "failed", "lost")
    said = ", ".join(f"{say_count(getattr(found, end))} {end}" for end in ends)
    lines = [f"  {say_count(found.begun)} sequences: {said}"]
    if found.duration_ns:
        rows = [["", *(name.replace("_", ".") for name in _QUANTILES)]]
        rows.append(["duration of a sequence", *_quantiles(found.duration_ns)])
        lines += table(rows)
    return lines


def _bursts(bursts: BurstFigures) -> list[str]:
    measured = {"drain of a burst": bursts.drain_ns, "smear of a burst": bursts.smear_ns}
    title = f"{say_count(bursts.burst_count)} bursts"
    rows = [[title, *(name.replace("_", ".") for name in _QUANTILES)]]
    rows += [[name, *_quantiles(found)] for name, found in measured.items() if found]
    return table(rows)


def _breakdown(title: str, parts: Iterable[tuple[str, SutSummary | WorkerSummary]]) -> list[str]:
    rows = [[title, "completed", "failed", "samples/s", "p50", "p99", "issue delay p99"]]
    for name, part in parts:
        counts, latency = part.requests, part.latency_ns
        rows.append(
            [
                name,
                say_count(counts.completed) if counts else "-",
                say_count(counts.failed + counts.timed_out + counts.lost) if counts else "-",
                say_rate(part.completed_samples_per_second),
                say_ns(latency.p50) if latency else "-",
                say_ns(latency.p99) if latency else "-",
                _p99_of_delay(part),
            ]
        )
    return table(rows)


def _server_statistics(suts: Sequence[SutSummary]) -> list[str]:
    rows = statistics_rows(suts)
    if not rows:
        # Nothing is said of servers that never tell: only of one beside others that do.
        return []
    said = [*statistics_remarks(suts), *statistics_lacking(suts)]
    lines = table([["counted by the SUT, mean a request", *HEAD], *rows])
    return ["", *lines, *(f"    {line}" for line in said)]


def _p99_of_delay(part: MeasuredTimes) -> str:
    return say_ns(part.issue_delay_ns.p99) if part.issue_delay_ns else "-"


def _findings(findings: Sequence[Finding]) -> list[str]:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok  " if finding.met else "FAIL"
        lines.append(
            f"  {mark} {finding.name.ljust(width)}  {finding.measured}; "
            f"required: {finding.required}"
        )
        if finding.advice:
            lines.append(f"       {' ' * width}  -> {finding.advice}")
    return lines


def _errors(series: SeriesSummary) -> list[str]:
    if not series.errors:
        return []
    lines = ["", "  errors"]
    for error in series.errors:
        code = "broken connection" if error.code == CODE_BROKEN_CONNECTION else f"gRPC {error.code}"
        lines.append(f"    {say_count(error.count)} x {code} at SUT {error.sut_index}: "
                     f"{error.message or 'no text'}")  # fmt: skip
    return lines


def _accuracy(summary: Summary) -> list[str]:
    if not summary.accuracy:
        return []
    return ["accuracy", *table([[k, f"{v:.6g}"] for k, v in summary.accuracy.items()])]


def _notes(summary: Summary) -> list[str]:
    said = [*summary.notes, *(f"gap: {gap}" for gap in summary.gaps)]
    return ["notes", *(f"  {note}" for note in said)] if said else []


def _identity(summary: Summary) -> list[str]:
    return [
        f"plan      {summary.plan_hash}",
        f"workload  {summary.workload_hash}",
        f"data      {summary.dataset.content_hash}",
    ]


def _sut_name(sut: SutSummary) -> str:
    name = f" {sut.name}" if sut.name else ""
    return f"{sut.address}{name}" + (f" ({sut.platform})" if sut.platform else "")


def _worker_name(worker: WorkerSummary) -> str:
    return f"{worker.worker_index} on {worker.host or '-'}" + (" LOST" if worker.lost else "")
