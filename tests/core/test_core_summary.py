"""summary.json: one shape, read back as written, without secrets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from series_builder import COUNTS, Series, closed, fail_rows, server
from series_summary import summary_of

from loadgen_service.core.facts.run import ErrorFacts
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.run import (
    Summary,
    build_summary,
    deviations,
    public_settings,
    summary_from_json,
    summary_to_json,
)
from loadgen_service.errors import UserError


def test_a_valid_run_says_so_and_repeats_its_one_series_at_the_top() -> None:
    summary = summary_of(server())
    assert (summary.valid, summary.loadgen_valid, summary.state) == (True, True, "DONE")
    assert summary.latency_ns == summary.series[0].latency_ns
    assert summary.issue_delay_ns == summary.series[0].issue_delay_ns
    assert summary.counts == summary.series[0].counts
    assert summary.metric is not None
    assert summary.metric.name == "completed_samples_per_second"
    assert summary.findings[0].name == "latency"


def test_json_comes_back_as_the_same_summary() -> None:
    made = server(workers=2)
    fail_rows(made.records, slice(0, 5), Status.FAILED)
    made.facts = replace(made.facts, errors=[ErrorFacts(14, "refused", 5)])
    summary = summary_of(made, notes=["no sut.proto"], accuracy={"top1": 0.5})
    text = summary_to_json(summary)
    assert summary_from_json(text) == summary
    assert "NaN" not in text
    assert "Infinity" not in text


def test_a_field_that_a_later_writer_added_is_passed_over() -> None:
    summary = summary_of(server())
    found = json.loads(summary_to_json(summary)) | {"of_later": {"count": 1}}
    found["latency_ns"]["p99_99"] = 1
    assert summary_from_json(json.dumps(found)) == summary


def test_the_documented_fields_stand_at_the_top() -> None:
    found = json.loads(summary_to_json(summary_of(server())))
    wanted = (
        "scenario mode valid findings loadgen_valid plan_hash workload_hash counts completed_qps "
        "latency_ns issue_delay_ns service_ns suts workers preprocess_ns accuracy format version"
    )
    assert set(wanted.split()) <= set(found)
    assert set(found["counts"]["queries"]) == {
        "planned",
        "not_issued",
        "issued",
        "completed",
        "failed",
        "timed_out",
        "lost",
    }
    assert set(found["latency_ns"]) == {
        *("count", "min", "mean", "p50", "p90", "p95", "p97", "p99", "p99_9", "max")
    }
    assert set(found["findings"][0]) == {
        *("name", "met", "measured", "required", "advice", "source")
    }


def test_the_warm_up_stays_out_of_the_verdict_and_the_counts() -> None:
    fields = {"warmup_duration_ms": 100, "target_qps": 1000, "min_duration_ms": 1000}
    settings = Settings.model_validate(fields)
    warm, run = Series(settings), Series(settings, series=1)
    fail_rows(warm.records, slice(0, 50), Status.FAILED)
    summary = summary_of(warm, run)
    assert summary.valid is True
    assert summary.counts == summary.series[1].counts
    assert [one.kind for one in summary.series] == ["warmup", "performance"]
    assert summary.series[0].valid is None
    assert summary.series[0].metric is None


def test_one_bad_accuracy_set_makes_the_run_invalid_and_counts_add_up() -> None:
    settings = Settings(scenario="server", mode="accuracy", performance_sample_count=32)
    sets = [Series(settings), Series(settings, series=1)]
    assert sets[0].plan.query_count == COUNTS.total // 2
    fail_rows(sets[1].records, 0, Status.FAILED)
    summary = summary_of(*sets)
    assert (summary.valid, summary.loadgen_valid) == (False, None)
    assert summary.counts.queries.planned == COUNTS.total
    assert summary.latency_ns is None
    assert summary.invalid_reason.startswith("accuracy-1: error_budget")
    unmet = [finding.name for finding in summary.findings if not finding.met]
    assert unmet == ["error_budget"]
    assert len({finding.name for finding in summary.findings}) == len(summary.findings)


def test_an_interrupted_run_is_marked() -> None:
    summary = summary_of(server(), interrupted=True)
    assert (summary.state, summary.valid) == ("INTERRUPTED", False)


def test_a_run_stopped_before_any_series_has_a_summary_and_no_verdict() -> None:
    made = server()
    summary = build_summary(made.settings, replace(made.run, interrupted=True), [])
    assert (summary.valid, summary.series, summary.started_at) == (None, [], "")
    assert summary.counts.queries.planned == 0
    assert summary_from_json(summary_to_json(summary)) == summary


def test_the_start_is_dated_in_utc() -> None:
    made = server()
    made.facts = replace(made.facts, start_unix_ns=1_700_000_000_123_456_789)
    assert summary_of(made).started_at == "2023-11-14T22:13:20.123Z"


def test_secrets_of_headers_stay_out() -> None:
    settings = Settings(header=["authorization=Bearer abc", "x=env:TOKEN", "y=file:/k", "bare"])
    shown = public_settings(settings)["header"]
    assert shown == ["authorization=***", "x=env:TOKEN", "y=file:/k", "bare=***"]


def test_deviations_from_loadgen_are_said() -> None:
    assert deviations(Settings()) == []
    many = Settings(workers=2, max_async_queries=5, coalesce_queries=True)
    assert len(deviations(many)) == 2
    assert "batching" in deviations(Settings(scenario="offline", samples_per_request=4))[0]


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "concurrency"])
def test_every_closed_loop_has_its_metric(scenario: str) -> None:
    summary = summary_of(closed(scenario, 1000))
    assert summary.metric is not None
    assert summary.metric.value is not None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not JSON"),
        ("[]", "version None"),
        ('{"version": 2}', "version 2"),
        ('{"version": 1, "format": "loadgen-summary"}', "run_id"),
    ],
)
def test_a_foreign_summary_is_refused_in_one_line(text: str, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        summary_from_json(text)
    assert "\n" not in str(caught.value)


def test_the_schema_is_published_from_the_model() -> None:
    schema = Summary.model_json_schema()
    assert {"valid", "findings", "counts", "series"} <= set(schema["properties"])
