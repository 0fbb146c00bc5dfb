"""The verdict: every finding met and not met, and what stands where nothing is judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from series_builder import MS, Series, closed, fail_rows, records_of, server

from loadgen_service.core.facts.run import ErrorFacts, WorkerFacts
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.findings.finding import say_count, say_ns, say_percentile
from loadgen_service.core.verdict.findings.notes import resent_notes


def finding(series: Series, name: str):
    return next(found for found in series.verdict().findings if found.name == name)


def test_a_sound_server_run_is_valid_with_every_finding_met() -> None:
    verdict = server().verdict()
    assert verdict.valid is True
    assert verdict.loadgen_valid is True
    assert verdict.invalid_reason == ""
    assert [found.name for found in verdict.findings] == [
        "latency",
        "min_duration",
        "min_query_count",
        "early_stopping",
        "generator_late",
        "blocked",
        "late_start",
        "error_budget",
        "accounting",
        "worker_lost",
        "ended_early",
        "interrupted",
    ]
    assert all(found.advice == "" for found in verdict.findings)


def test_slow_answers_fail_the_latency_and_early_stopping() -> None:
    made = server(target_latency_ms=4)
    assert made.unmet() == ["latency", "early_stopping"]
    verdict = made.verdict()
    assert verdict.loadgen_valid is False
    assert "latency: p99 5 ms, required p99 <= 4 ms" in verdict.invalid_reason
    assert "lower --target-qps" in finding(made, "latency").advice


def test_a_latency_equal_to_the_limit_is_within_it() -> None:
    assert server(target_latency_ms=5).verdict().valid is True


def test_failures_fail_the_latency_as_infinite_ones() -> None:
    made = server(error_budget=0.5)
    fail_rows(made.records, slice(0, 20), Status.FAILED)
    assert made.unmet() == ["latency", "early_stopping"]
    assert finding(made, "latency").measured == "p99 infinite: 20 samples without a good answer"


def test_a_few_failures_within_the_budget_leave_a_long_run_valid() -> None:
    made = server(error_budget=0.01)
    fail_rows(made.records, slice(0, 2), Status.FAILED)
    assert made.verdict().valid is True
    assert server().verdict().valid is True
    made = server()
    fail_rows(made.records, slice(0, 2), Status.FAILED)
    assert made.unmet() == ["error_budget"]


def test_the_error_budget_names_the_most_frequent_error() -> None:
    made = server()
    fail_rows(made.records, 0, Status.FAILED)
    made.facts = replace(
        made.facts, errors=[ErrorFacts(4, "late", 1), ErrorFacts(14, "refused", 5)]
    )
    assert "code 14: refused (5 times)" in finding(made, "error_budget").measured


@pytest.mark.parametrize(
    ("status", "word"), [(Status.TIMED_OUT, "--timeout-ms"), (Status.FAILED, "--error-budget")]
)
def test_the_error_advice_fits_the_kind_of_failure(status: Status, word: str) -> None:
    made = server()
    fail_rows(made.records, slice(0, 5), status)
    assert word in finding(made, "error_budget").advice


def test_a_late_generator_fails_the_run_whatever_the_latencies() -> None:
    made = server()
    made.records["released_ns"][:50] = made.records["scheduled_ns"][:50] + 4 * MS
    made.records["issued_ns"] = made.records["released_ns"] + 10_000
    assert made.unmet() == ["generator_late"]
    assert made.verdict().loadgen_valid is True


def test_a_late_generator_names_who_took_its_processor() -> None:
    made = server()
    made.records["released_ns"][:50] = made.records["scheduled_ns"][:50] + 4 * MS
    made.records["issued_ns"] = made.records["released_ns"] + 10_000
    made.workers = [replace(made.workers[0], stolen_share=0.072, waited_share=0.01)]
    advice = finding(made, "generator_late").advice
    assert "of worker 0, the hypervisor took 7.2% of its processors' time" in advice
    assert "waited" not in advice


def release(made: Series, at_ns: np.ndarray) -> None:
    """Released and issued then, and answered 5 ms later."""
    made.records["released_ns"] = made.records["issued_ns"] = at_ns
    made.records["first_response_ns"] = made.records["completed_ns"] = at_ns + 5 * MS


def test_the_lateness_budget_grows_with_the_latency_limit() -> None:
    made = server(target_latency_ms=500)
    release(made, made.records["scheduled_ns"] + 9 * MS)
    assert made.verdict().valid is True


def test_a_blocked_transport_is_another_finding_with_its_own_culprit() -> None:
    made = server()
    made.records["issued_ns"][:50] += 4 * MS
    assert made.unmet() == ["blocked"]
    assert "window" in finding(made, "blocked").advice
    made.workers = [replace(made.workers[0], blocked_by_streams=50)]
    assert "50 requests waited" in finding(made, "blocked").measured
    assert "streams" in finding(made, "blocked").advice


def test_a_worker_late_to_the_common_start_is_named() -> None:
    made = server(workers=2)
    made.workers[1] = replace(made.workers[1], late_start_ns=20 * MS)
    assert made.unmet() == ["late_start"]
    assert finding(made, "late_start").measured == "worker 1 late by 20 ms"


def test_a_run_too_short_for_its_minima_says_so() -> None:
    made = server(max_query_count=600, min_query_count=700)
    made.workers = [replace(made.workers[0], ended_by="max_query_count")]
    assert made.unmet() == ["min_duration", "min_query_count", "ended_early"]
    assert "--max-query-count" in finding(made, "ended_early").advice


def test_a_maximum_reached_after_the_minima_is_no_fault() -> None:
    made = closed("single_stream", 200)
    made.workers = [replace(made.workers[0], ended_by="max_duration")]
    assert made.verdict().valid is True


def test_a_streak_of_failures_fails_even_within_the_budget() -> None:
    made = closed("single_stream", 1000, error_budget=1)
    fail_rows(made.records, slice(980, 1000), Status.FAILED)
    made.workers = [replace(made.workers[0], ended_by="failures")]
    assert made.unmet() == ["ended_early"]


def test_missing_records_of_a_living_worker_open_the_accounting() -> None:
    made = server()
    made.keep(made.records["row"] >= 3)
    assert "accounting" in made.unmet()
    measured = finding(made, "accounting").measured
    assert "3 requests issued by living workers without a record" in measured


def test_gaps_in_the_segments_open_the_accounting() -> None:
    made = server()
    made.run = replace(made.run, gaps=[f"worker 0: batch {n}" for n in range(5)])
    assert made.unmet() == ["accounting"]
    assert finding(made, "accounting").measured.endswith("worker 0: batch 2; 2 more gaps")


def test_a_lost_worker_is_named_with_its_reason() -> None:
    made = server(workers=2)
    made.workers[1] = replace(
        made.workers[1], lost=True, lost_reason="silent for 10 s", host="b", issued_count=100
    )
    made.keep((made.records["row"] % 2 == 0) | (made.records["row"] < 200))
    assert set(made.unmet()) == {"latency", "early_stopping", "error_budget", "worker_lost"}
    lost = finding(made, "worker_lost")
    assert lost.measured == "1 of 2 lost (worker 1 on b: silent for 10 s)"


def test_an_interrupted_run_is_not_valid() -> None:
    made = server()
    made.facts = replace(made.facts, interrupted=True)
    assert made.unmet() == ["interrupted"]


def test_single_stream_with_too_few_queries_needs_more() -> None:
    made = closed("single_stream", 63, min_duration_ms=10, min_query_count=5)
    assert made.unmet() == ["early_stopping"]
    assert finding(made, "early_stopping").advice.startswith("1 more queries are needed")


def test_single_stream_whose_estimate_is_infinite_is_not_met() -> None:
    made = closed("single_stream", 1000, error_budget=1)
    fail_rows(made.records, slice(0, 200), Status.FAILED)
    assert made.unmet() == ["early_stopping"]
    assert "error_budget" in finding(made, "early_stopping").advice


def test_closed_loops_are_not_judged_for_lateness() -> None:
    made = closed("single_stream", 200)
    made.records["released_ns"] += 50 * MS
    names = [found.name for found in made.verdict().findings]
    assert "generator_late" not in names
    assert "latency" not in names


def test_a_limit_given_to_a_closed_loop_is_judged_by_us_and_not_by_loadgen() -> None:
    made = closed("single_stream", 200, target_latency_ms=0.5)
    verdict = made.verdict()
    assert made.unmet() == ["latency"]
    assert (verdict.valid, verdict.loadgen_valid) == (False, True)


def test_offline_needs_its_makespan_and_all_its_samples() -> None:
    settings = Settings(scenario="offline", target_qps=100, min_duration_ms=1000)
    made = Series(settings)
    made.records = records_of(made.plan, made.records["row"], 1001 * MS)
    assert made.verdict().valid is True
    made.records = records_of(made.plan, made.records["row"], 999 * MS)
    assert made.unmet() == ["min_duration"]
    made.keep(made.records["row"] < 50)
    made.workers = [replace(made.workers[0], issued_count=50, ended_by="stop")]
    assert "min_query_count" in made.unmet()


def burst(**changed: object) -> Series:
    fields = {
        "scenario": "burst",
        "burst_query_count": 5,
        "burst_period_ms": 10,
        "min_duration_ms": 500,
        "target_latency_percentile": 90,
        "min_query_count": 100,
    }
    return Series(Settings.model_validate(fields | changed))


def test_burst_early_stopping_counts_bursts() -> None:
    made = burst()
    assert made.verdict().valid is True
    assert finding(made, "early_stopping").measured.startswith("51 bursts, 0 over the limit")
    short = burst(min_duration_ms=300)
    assert short.unmet() == ["early_stopping"]
    assert "bursts" in finding(short, "early_stopping").advice


def test_one_late_query_makes_its_burst_late() -> None:
    made = burst(target_latency_ms=50)
    made.records["completed_ns"][[7, 8]] += 100 * MS
    assert finding(made, "early_stopping").measured.startswith("51 bursts, 1 over the limit")
    assert made.unmet() == ["early_stopping"]


def test_a_burst_may_take_its_usual_time_to_go_out() -> None:
    made = burst()
    within = np.arange(len(made.records["row"])) % 5
    release(made, made.records["scheduled_ns"] + within * MS)
    assert made.verdict().valid is True
    late = np.where(np.arange(len(within)) < 50, 5 * MS, 0)
    release(made, made.records["released_ns"] + late)
    assert made.unmet() == ["generator_late"]


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"scenario": "burst"}, "LoadGen has no burst scenario"),
        ({"scenario": "concurrency"}, "LoadGen has no concurrency scenario"),
        ({"scenario": "server", "arrivals": "constant"}, "LoadGen has no constant arrivals"),
        ({"scenario": "server", "mode": "accuracy"}, "LoadGen judges no speed in accuracy mode"),
    ],
)
def test_what_loadgen_does_not_have_it_does_not_judge(fields: dict[str, object], note: str) -> None:
    verdict = Series(Settings.model_validate(fields)).verdict()
    assert verdict.loadgen_valid is None
    assert verdict.loadgen_note.startswith(note)
    assert verdict.valid is not None


def test_a_warm_up_is_not_judged() -> None:
    made = Series(Settings(scenario="server", warmup_duration_ms=100))
    verdict = made.verdict()
    assert (verdict.valid, verdict.loadgen_valid, verdict.findings) == (None, None, ())
    assert "warm-up" in verdict.invalid_reason


@pytest.mark.parametrize(
    ("accuracy", "met", "measured"),
    [
        ({"top1": 0.9}, True, "top-1 0.9000"),
        ({"top1": 0.89}, False, "top-1 0.8900"),
        (None, False, "no labels to score against"),
    ],
)
def test_accuracy_is_judged_against_its_target(
    accuracy: dict[str, float] | None, met: bool, measured: str
) -> None:
    made = Series(Settings(scenario="server", mode="accuracy", accuracy_target=0.9))
    made.run = replace(made.run, accuracy=accuracy)
    found = finding(made, "accuracy")
    assert (found.met, found.measured) == (met, measured)
    assert made.verdict().valid is met


def test_accuracy_without_a_target_is_judged_on_its_records_alone() -> None:
    made = Series(Settings(scenario="offline", mode="accuracy"))
    names = [found.name for found in made.verdict().findings]
    common = ["error_budget", "accounting", "worker_lost", "ended_early", "interrupted"]
    assert names == ["all_issued", *common]


def test_accuracy_of_a_part_of_the_set_is_not_valid() -> None:
    made = Series(Settings(scenario="offline", mode="accuracy"))
    made.keep(made.records["row"] < 60)
    made.workers = [replace(made.workers[0], issued_count=60)]
    assert made.unmet() == ["all_issued"]
    assert finding(made, "all_issued").measured == "60 of 64 samples issued"


def test_a_run_without_the_series_facts_is_a_mistake_of_the_caller() -> None:
    made = server()
    made.facts = replace(made.facts, series_index=7)
    with pytest.raises(ValueError, match="series 0"):
        made.verdict()


def test_quantities_are_said_in_the_unit_that_suits_them() -> None:
    said = [say_ns(n) for n in (None, 0, 999, 1500, 12_500_000, 3_330_000_000)]
    assert said == ["none", "0 ns", "999 ns", "1.5 µs", "12.5 ms", "3.33 s"]
    assert say_percentile(99.9 * 0.01) == "p99.9"
    assert (say_count(1, "query", "queries"), say_count(2, "sample")) == ("1 query", "2 samples")


@pytest.mark.parametrize(("peak", "blocked", "met"), [(8, 5, False), (64, 5, True), (8, 0, None)])
def test_a_closed_loop_that_never_had_its_concurrency_is_named(
    peak: int, blocked: int, met: bool | None
) -> None:
    made = closed("concurrency", 200, concurrency=64)
    made.workers = [replace(made.workers[0], peak_outstanding=peak, blocked_by_streams=blocked)]
    assert ("concurrency" in made.unmet()) is (met is False)
    if met is False:
        assert "at most 8 at the SUT at once" in finding(made, "concurrency").measured
        assert "--connections" in finding(made, "concurrency").advice


def test_requests_that_were_sent_again_are_noted() -> None:
    assert resent_notes([WorkerFacts(0), WorkerFacts(1)]) == []
    (note,) = resent_notes([WorkerFacts(0, resent_count=1_200), WorkerFacts(1, resent_count=34)])
    assert note.startswith("1,234 requests were sent again")
    assert resent_notes([WorkerFacts(0, resent_count=1)])[0].startswith("1 request was")
