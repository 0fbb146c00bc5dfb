"""The plan: golden vectors, rows, shards, hashes and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    hash_plans,
    plan_hash,
    plan_series,
    series_specs,
    shard_rows,
    workload_hash,
)
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError

VECTORS = json.loads((Path(__file__).parent / "golden_vectors.json").read_text())["vectors"]
COUNTS = SampleCounts(total=100, performance=24)
OUR_SCENARIO = {
    "SingleStream": "single_stream",
    "MultiStream": "multi_stream",
    "Server": "server",
    "Offline": "offline",
}
SAME_NAMES = (
    "min_duration_ms",
    "max_duration_ms",
    "min_query_count",
    "max_query_count",
    "qsl_rng_seed",
    "sample_index_rng_seed",
    "schedule_rng_seed",
    "performance_issue_unique",
    "performance_issue_same",
    "performance_issue_same_index",
    "sample_concatenate_permutation",
)
OTHER_NAMES = {
    "server_target_qps": ("target_qps", 1.0),
    "offline_expected_qps": ("target_qps", 1.0),
    "single_stream_expected_latency_ns": ("expected_latency_ms", 1e-6),
    "multi_stream_expected_latency_ns": ("expected_latency_ms", 1e-6),
    "multi_stream_samples_per_query": ("samples_per_query", 1),
    "performance_sample_count_override": ("performance_sample_count", 1),
}


def golden_settings(requested: dict[str, Any]) -> Settings:
    fields = {name: requested[name] for name in SAME_NAMES}
    for theirs, (ours, factor) in OTHER_NAMES.items():
        if theirs in requested:
            fields[ours] = requested[theirs] * factor
    accuracy = requested["test_mode"] == "AccuracyOnly"
    return Settings(
        scenario=OUR_SCENARIO[requested["scenario"]],
        mode="accuracy" if accuracy else "performance",
        **fields,
    )


def plans_of(ours: Settings, counts: SampleCounts = COUNTS) -> list[SeriesPlan]:
    return [plan_series(ours, counts, spec) for spec in series_specs(ours, counts)]


def queries_of(plan: SeriesPlan) -> list[list[int]]:
    return [list(map(int, query)) for query in plan.samples.reshape(-1, plan.samples_per_query)]


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_plan_is_the_golden_one(name: str) -> None:
    golden = VECTORS[name]
    counts = SampleCounts(golden["qsl_total"], golden["qsl_performance"])
    plans = plans_of(golden_settings(golden["requested"]), counts)
    assert [p.generated_query_count for p in plans] == golden["generated_query_count"]
    assert [p.samples_per_query for p in plans] == golden["generated_samples_per_query"]
    assert [p.generated_duration_ns for p in plans] == golden["generated_query_duration_ns"]
    queries = [query for plan in plans for query in queries_of(plan)]
    if "issued_queries" in golden:
        assert queries == golden["issued_queries"]
    else:
        assert queries[:64] == golden["issued_queries_first"][:64]
    for plan, loaded in zip(plans, golden["loaded_sets"], strict=False):
        assert_loaded(plan, loaded)
    if "schedule_ns_first" in golden:
        first = golden["schedule_ns_first"]
        assert plans[0].scheduled_ns[: len(first)].tolist() == first
        assert plans[0].scheduled_ns[-1] == golden["schedule_ns_last"]


def assert_loaded(plan: SeriesPlan, golden: Any) -> None:
    loaded = plan.spec.loaded.tolist()
    if isinstance(golden, list):
        assert loaded == golden
        return
    assert len(loaded) == golden["len"]
    assert (loaded[:32], loaded[-8:]) == (golden["first32"], golden["last8"])


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    scenario = draw(st.sampled_from(sorted(SCENARIOS)))
    arrivals = draw(st.sampled_from(["poisson", "constant", "gamma", "ramp", "steps"]))
    return Settings(
        scenario=scenario,
        mode=draw(st.sampled_from(["performance", "accuracy"])),
        sut=["grpc://a:1", "grpc://b:1", "grpc://c:1"][: draw(st.integers(1, 3))],
        target_qps=draw(st.floats(10, 900)),
        arrivals=arrivals,
        burstiness=draw(st.floats(0.2, 4)),
        ramp_to_qps=500,
        steps="100:50,0:30,900:60",
        expected_latency_ms=draw(st.floats(0.5, 5)),
        samples_per_query=draw(st.integers(1, 9)),
        samples_per_request=draw(st.integers(1, 9)) if SCENARIOS[scenario].splits_queries else 1,
        min_duration_ms=draw(st.integers(0, 400)),
        min_query_count=draw(st.integers(1, 90)),
        max_query_count=draw(st.sampled_from([0, 0, 33])),
        burst_query_count=draw(st.integers(1, 13)),
        burst_period_ms=draw(st.floats(5, 300)),
        concurrency=8,
        sample_concatenate_permutation=draw(st.booleans()),
        performance_issue_same=draw(st.booleans()),
        warmup_duration_ms=draw(st.sampled_from([0, 40])),
        schedule_rng_seed=draw(st.integers(0, 2**64 - 1)),
    )


@settings(max_examples=50, deadline=None)
@given(ours=any_settings(), worker_count=st.integers(1, 7))
def test_shards_of_any_worker_count_make_up_the_plan(ours: Settings, worker_count: int) -> None:
    for plan in plans_of(ours):
        shards = [shard_rows(plan, j, worker_count, ours) for j in range(worker_count)]
        if plan.unbounded:
            assert [(s.start, s.step) for s in shards] == [
                (j, worker_count) for j in range(worker_count)
            ]
            continue
        rows = [np.asarray(shard, dtype=np.int64) for shard in shards]
        assert all((np.diff(shard) > 0).all() for shard in rows)
        assert sorted(np.concatenate(rows).tolist()) == list(range(plan.request_count))


@settings(max_examples=50, deadline=None)
@given(ours=any_settings())
def test_requests_carry_each_sample_of_the_plan_once(ours: Settings) -> None:
    for plan in plans_of(ours):
        if plan.unbounded:
            continue
        spans = [plan.request_span(row) for row in range(plan.request_count)]
        assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
        assert (spans[0][0], spans[-1][1]) == (0, len(plan.samples))
        assert all(0 < stop - start <= plan.samples_per_request for start, stop in spans)


@settings(max_examples=50, deadline=None)
@given(ours=any_settings())
def test_columns_agree_with_one_another(ours: Settings) -> None:
    for plan in plans_of(ours):
        assert (plan.spec.loaded[plan.loaded_position] == plan.samples).all()
        assert len(plan.samples) == plan.query_count * plan.samples_per_query
        assert len(plan.scheduled_ns) == plan.query_count
        assert (np.diff(plan.scheduled_ns) >= 0).all()
        assert (plan.samples.dtype, plan.scheduled_ns.dtype) == (np.int32, np.int64)
        assert plan.sut_index.dtype == np.int16
        pulled = SCENARIOS[plan.scenario].pulled
        assert len(plan.sut_index) == (0 if pulled else plan.query_count)
        assert set(plan.sut_index.tolist()) <= set(range(len(ours.sut)))


@settings(max_examples=40, deadline=None)
@given(ours=any_settings())
def test_minima_are_covered_unless_cut(ours: Settings) -> None:
    for plan in plans_of(ours):
        row = SCENARIOS[plan.scenario]
        if plan.effective.kind != "performance" or row.closed or row.pulled:
            continue
        assert plan.generated_query_count >= ours.min_query_count
        if plan.generated_query_count == plan.query_count:
            assert plan.scheduled_ns[-1] >= ours.min_duration_ms * 1_000_000


def test_accuracy_covers_the_data_set_once() -> None:
    for scenario in SCENARIOS:
        ours = Settings(scenario=scenario, mode="accuracy", target_qps=1000)
        plans = plans_of(ours)
        assert [plan.spec.kind for plan in plans] == ["accuracy"] * 5
        seen = np.concatenate([plan.samples for plan in plans])
        assert set(seen.tolist()) == set(range(COUNTS.total))
        if scenario != "multi_stream":  # whose last query of a set starts over
            assert len(seen) == COUNTS.total


def test_unbounded_plan_repeats_its_block() -> None:
    plan = plans_of(Settings(scenario="concurrency", concurrency=4))[0]
    assert plan.unbounded
    block = plan.query_count
    assert plan.request_span(block + 5) == plan.request_span(5) == (5, 6)
    assert plan.sut_of(block + 5) == plan.sut_of(5)


def test_weights_share_queries_out() -> None:
    ours = Settings(
        sut=["a", "b", "c"], routing="weights", sut_weights=[1, 2, 5], target_qps=20_000
    )
    counted = np.bincount(plans_of(ours)[0].sut_index) / 200_000
    assert counted == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)


def test_weights_alone_ask_for_their_routing_and_fit_no_other() -> None:
    assert Settings(sut=["a", "b"], sut_weights=[3, 1]).routing == "weights"
    with pytest.raises(ValueError, match="--routing round_robin takes none"):
        Settings(sut=["a", "b"], sut_weights=[3, 1], routing="round_robin")


def test_least_outstanding_promises_no_sut_and_the_hash_says_so() -> None:
    two = {"sut": ["a", "b"], "target_qps": 500}
    dynamic = Settings(**two, routing="least_outstanding")
    assert len(plans_of(dynamic)[0].sut_index) == 0
    assert plans_of(dynamic)[0].sut_of(3) == -1
    assert plan_hash(dynamic, COUNTS) != plan_hash(Settings(**two), COUNTS)
    alone = {"sut": ["a"], "target_qps": 500}
    only = Settings(**alone, routing="least_outstanding")
    assert plan_hash(only, COUNTS) == plan_hash(Settings(**alone), COUNTS)


def test_max_query_count_cuts_the_plan_and_changes_nothing_before() -> None:
    whole = plans_of(Settings(target_qps=500, min_duration_ms=1000))[0]
    cut = plans_of(Settings(target_qps=500, min_duration_ms=1000, max_query_count=70))[0]
    assert (cut.query_count, cut.generated_query_count) == (70, whole.query_count)
    assert (cut.scheduled_ns == whole.scheduled_ns[:70]).all()
    assert (cut.samples == whole.samples[:70]).all()


@settings(max_examples=40, deadline=None)
@given(ours=any_settings())
def test_hash_does_not_depend_on_workers(ours: Settings) -> None:
    expected = plan_hash(ours, COUNTS)
    assert hash_plans(plans_of(ours)) == expected
    if not SCENARIOS[ours.scenario].one_worker:
        assert plan_hash(ours.model_copy(update={"workers": 4}), COUNTS) == expected


# (what is changed, scenario, whether the plan hash must change)
HASHED = [
    ({"schedule_rng_seed": 1}, "server", True),
    ({"schedule_rng_seed": 1}, "offline", False),
    ({"schedule_rng_seed": 1}, "single_stream", False),
    ({"sample_index_rng_seed": 1}, "server", True),
    ({"sample_index_rng_seed": 1}, "concurrency", True),
    ({"sut": ["grpc://a:1", "grpc://b:1"]}, "server", True),
    ({"sut": ["grpc://a:1", "grpc://b:1"]}, "multi_stream", False),
    ({"sut": ["grpc://a:1", "grpc://b:1"]}, "offline", False),
    ({"samples_per_request": 4}, "offline", True),
    ({"target_qps": 1001.0}, "server", True),
    ({"burst_period_ms": 99.0}, "burst", True),
    ({"concurrency": 9}, "concurrency", False),
    ({"target_latency_ms": 7.0}, "server", False),
]


@pytest.mark.parametrize(("change", "scenario", "differs"), HASHED)
def test_hash_covers_what_the_scenario_promises(
    change: dict[str, Any], scenario: str, differs: bool
) -> None:
    fields = {"scenario": scenario, "target_qps": 1000.0, "sut": ["grpc://a:1"], "concurrency": 8}
    before = plan_hash(Settings(**fields), COUNTS)
    after = plan_hash(Settings(**(fields | change)), COUNTS)
    assert (before != after) is differs
    assert before.startswith("plan-v1:")


def test_plan_hash_of_version_one_stays() -> None:
    """The canonical form is an interface: a change of it needs a new version name."""
    assert plan_hash(Settings(target_qps=1000, min_duration_ms=100), COUNTS) == PLAN_V1_OF_SERVER


PLAN_V1_OF_SERVER = "plan-v1:bfe413d0dbae1e0e99b0cff72809f8b99091ba4f2eb33a6f73aa18fb7a4dbb20"


def test_workload_hash_says_comparable_not_identical() -> None:
    base = Settings(target_qps=100, model="m")
    same = workload_hash(base, COUNTS, "data")
    assert workload_hash(Settings(target_qps=999, model="m"), COUNTS, "data") == same
    assert workload_hash(base, COUNTS, "other data") != same
    # another model on the same data and limits is what `compare` is for
    assert workload_hash(Settings(target_qps=100, model="n"), COUNTS, "data") == same
    assert same.startswith("workload-v1:")


@pytest.mark.parametrize(
    ("scenario", "field"), [("concurrency", "concurrency"), ("burst", "burst_query_count")]
)
def test_workload_hash_covers_how_much_is_out_at_once(scenario: str, field: str) -> None:
    def hashed(size: int, of: str) -> str:
        return workload_hash(Settings.model_validate({"scenario": of, field: size}), COUNTS, "data")

    assert hashed(4, scenario) != hashed(8, scenario)
    # where it says nothing about the load, it says nothing about the workload
    assert hashed(4, "server") == hashed(8, "server")


# (settings, counts, the words that the message must contain)
REFUSED = [
    ({}, SampleCounts(0, 10), "total_sample_count"),
    ({}, SampleCounts(10, 0), "performance_sample_count"),
    (
        {"performance_issue_same": True, "performance_issue_same_index": 24},
        COUNTS,
        "performance_issue_same_index",
    ),
    ({"target_qps": 1e12}, COUNTS, "target_qps"),
    ({"scenario": "offline", "target_qps": 1e12}, COUNTS, "target_qps"),
    ({"scenario": "burst", "burst_query_count": 10**9}, COUNTS, "burst"),
    ({"scenario": "single_stream", "expected_latency_ms": 1e-9}, COUNTS, "expected_latency_ms"),
    ({"min_query_count": 2**40}, COUNTS, "min_query_count"),
    (
        {
            "scenario": "multi_stream",
            "performance_issue_unique": True,
            "sample_concatenate_permutation": True,
        },
        COUNTS,
        "sample_concatenate_permutation",
    ),
    ({"arrivals": "steps", "steps": "10"}, COUNTS, "steps"),
    ({"arrivals": "steps", "steps": "10:5,x:5"}, COUNTS, "steps"),
    ({"arrivals": "steps", "steps": "10:5,0:5"}, COUNTS, "steps"),
]


@pytest.mark.parametrize(("fields", "counts", "named"), REFUSED)
def test_impossible_plan_is_refused_in_one_line(
    fields: dict[str, Any], counts: SampleCounts, named: str
) -> None:
    ours = Settings(**fields)
    with pytest.raises(SettingsError, match=named) as refusal:
        plans_of(ours, counts)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("unique", [False, True])
def test_line_n_of_a_trace_is_the_arrival_of_sample_n(unique: bool) -> None:
    ours = Settings(
        arrivals="trace", trace_file="t", min_query_count=1, performance_issue_unique=unique
    )
    counts = SampleCounts(8, 8)
    trace_ns = np.arange(8, dtype=np.int64)
    [spec] = series_specs(ours, counts)
    plan = plan_series(ours, counts, spec, trace_ns)
    assert plan.samples.tolist() == list(range(8))
    assert plan.scheduled_ns.tolist() == trace_ns.tolist()
    longer = plan_series(ours.model_copy(update={"performance_issue_unique": False}), counts, spec,
                         np.arange(11, dtype=np.int64))  # fmt: skip
    assert longer.samples.tolist() == [*range(8), 0, 1, 2]
