"""The token rules in figures, verdict and summary, on answers worked out by hand."""

from __future__ import annotations

import pytest
from series_builder import MS, Series, fail_rows, server

from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.summary.run import build_summary, summary_from_json, summary_to_json


def streamed(first_ms: float = 20, per_token_ms: float = 5, count: int = 11, **changes: object):
    """A server series of answers of ``count`` tokens."""
    series = server(use_token_latencies=True, **changes)
    records = series.records
    records["first_response_ns"] = records["scheduled_ns"] + int(first_ms * MS)
    records["token_count"][:] = count
    records["completed_ns"] = records["first_response_ns"] + int(per_token_ms * MS * (count - 1))
    return series


def met(series: Series) -> dict[str, bool]:
    return {finding.name: finding.met for finding in series.verdict().findings}


def test_times_are_from_the_scheduled_instant_and_per_further_token() -> None:
    tokens = streamed().figures().tokens
    assert tokens is not None
    assert (tokens.ttft_ns.min, tokens.ttft_ns.max) == (20 * MS, 20 * MS)
    assert (tokens.loadgen_tpot_ns.p50, tokens.tpot_target_ns) == (5 * MS, 5 * MS)
    assert tokens.token_count == 11 * tokens.ttft_ns.count
    assert server().figures().tokens is None


def test_both_limits_are_judged_and_latency_is_not() -> None:
    found = met(streamed(ttft_latency_ms=20, tpot_latency_ms=5, target_latency_ms=1))
    assert "latency" not in found
    assert found["ttft"]
    assert found["tpot"]
    assert found["early_stopping"]
    assert found["token_answers"]


@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_a_missed_limit_fails_loadgens_verdict_too(name: str) -> None:
    series = streamed(**{f"{name}_latency_ms": 4})
    assert not met(series)[name]
    verdict = series.verdict()
    assert verdict.loadgen_valid is False
    assert verdict.valid is False
    assert f"{name}: p99 {'20' if name == 'ttft' else '5'} ms" in verdict.invalid_reason


def test_early_stopping_needs_both_passes() -> None:
    series = streamed()
    first = series.records["first_response_ns"]
    late = len(first) // 50  # of p99 twice as many as may be
    first[:late] = series.records["scheduled_ns"][:late] + 150 * MS
    series.records["completed_ns"][:late] = first[:late] + 50 * MS
    tokens = series.figures().tokens
    assert tokens is not None
    assert tokens.tpot_stopping.met
    assert not tokens.ttft_stopping.met
    assert not met(series)["early_stopping"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r["first_response_ns"].__setitem__(0, NEVER), "1 answer without a first token"),
        (lambda r: r["token_count"].__setitem__(slice(2), 0), "2 answers without a count"),
        (lambda r: r["token_count"].__setitem__(0, 1), "1 answer of one token"),
    ],
)
def test_an_answer_without_tokens_to_measure_is_valid_for_loadgen_alone(spoil, words) -> None:
    series = streamed()
    spoil(series.records)
    verdict = series.verdict()
    assert verdict.loadgen_valid is True
    assert verdict.valid is False
    finding = next(one for one in verdict.findings if one.name == "token_answers")
    assert words in finding.measured
    assert series.figures().tokens.loadgen_tpot_ns.min == 5 * MS  # none is negative


def test_failed_answers_have_infinite_times() -> None:
    series = streamed()
    for row in range(len(series.records["row"]) // 50):
        fail_rows(series.records, row, Status.FAILED)
    tokens = series.figures().tokens
    assert tokens.ttft_target_ns is None
    assert not tokens.ttft_met
    assert not met(series)["tpot"]


def test_tokens_a_second_are_the_number_of_a_server_run() -> None:
    series = streamed()
    result = (series.plan, series.figures(), series.verdict())
    summary = build_summary(series.settings, series.run_facts, [result])
    assert summary.metric.name == "tokens_per_second"
    assert summary.metric.value == summary.tokens.tokens_per_second
    assert summary.series[0].tokens == summary.tokens
    assert summary_from_json(summary_to_json(summary)) == summary
