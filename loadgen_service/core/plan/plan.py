"""The plan: which query carries which samples, is due when, and goes to which SUT.

A pure function of settings and sample counts, the same on every worker. Decides the columns and
their hashes; knows no clock, no payload and no worker's pace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from loadgen_service.core.plan.arrivals import Demand, Schedule, arrivals, bursts, periodic
from loadgen_service.core.plan.effective_settings import (
    Effective,
    SampleCounts,
    effective,
    performance_sample_count,
)
from loadgen_service.core.plan.hashes import (
    PLAN_HASH_VERSION,
    WORKLOAD_HASH_VERSION,
    ColumnHash,
    mapping_hash,
)
from loadgen_service.core.plan.mt19937 import Int64Array, RandomWords
from loadgen_service.core.plan.query_samples import (
    QueryShape,
    follows_trace,
    offline_positions,
    positions_in_order,
    sample_positions,
)
from loadgen_service.core.plan.sequence_plan import plan_sequences
from loadgen_service.core.plan.series import (
    Int16Array,
    SeriesPlan,
    SeriesSpec,
    frozen,
    peak_series,
    series_specs,
    shard_rows,
)
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S

__all__ = [
    "SampleCounts",
    "SeriesPlan",
    "SeriesSpec",
    "hash_plans",
    "peak_series",
    "plan_hash",
    "plan_series",
    "series_specs",
    "shard_rows",
    "workload_hash",
]

# Rows of an unbounded plan repeat after so many queries: 14 MB of columns, whatever the speed.
UNBOUNDED_BLOCK: Final = 1 << 20
# The SUT sequence of --routing weights has an engine of its own, named by its letters.
_SUT_SEED: Final = int.from_bytes(b"SUTS", "big")


def plan_series(
    settings: Settings,
    counts: SampleCounts,
    spec: SeriesSpec,
    trace_ns: Int64Array | None = None,
) -> SeriesPlan:
    """Plan one series. ``trace_ns``: due times of ``--arrivals trace``, ns from the start."""
    if spec.target_qps is not None:
        settings = settings.model_copy(update={"target_qps": spec.target_qps})
    wanted = effective(settings, counts, spec.kind)
    row = SCENARIOS[settings.scenario]
    if counts.sequences is not None:
        return plan_sequences(
            settings, counts.sequences, wanted, spec, UNBOUNDED_BLOCK, _sut_sequence
        )
    if row.pulled:
        return _plan_offline(settings, wanted, spec)
    first_count = wanted.min_query_count
    if wanted.listed:
        first_count = max(1, len(spec.loaded) // wanted.samples_per_query)
    shape = QueryShape(
        len(spec.loaded), spec.loaded_end, first_count, row.one_worker and row.splits_queries
    )
    grow_by = len(spec.loaded) if wanted.equal_issue and spec.kind != "accuracy" else 1
    demand = Demand(-(-first_count // grow_by) * grow_by, wanted.generate_ns, grow_by)
    unbounded = row.duration_clock == "window" and not wanted.listed
    if unbounded:
        schedule = Schedule(np.zeros(_block_length(wanted, shape), dtype=np.int64), 0)
    else:
        schedule = _schedule(settings, wanted, demand, trace_ns)
    return _assemble(settings, wanted, spec, shape, schedule, unbounded)


def _schedule(
    settings: Settings, wanted: Effective, demand: Demand, trace_ns: Int64Array | None
) -> Schedule:
    due = SCENARIOS[settings.scenario].due
    if due == "arrivals":
        return arrivals(settings, wanted, demand, trace_ns)
    if due == "bursts":
        return bursts(settings, demand)
    if SCENARIOS[settings.scenario].one_worker:
        return periodic(int(NS_PER_S * (1 / wanted.target_qps)), demand)
    return Schedule(np.zeros(demand.query_count, dtype=np.int64), 0)


def _assemble(
    settings: Settings,
    wanted: Effective,
    spec: SeriesSpec,
    shape: QueryShape,
    schedule: Schedule,
    unbounded: bool,
) -> SeriesPlan:
    generated = len(schedule.scheduled_ns)
    query_count = generated
    if wanted.max_query_count and not unbounded:
        query_count = min(generated, wanted.max_query_count)
    if follows_trace(settings, wanted):
        positions = positions_in_order(spec.loaded, query_count)
    else:
        positions = sample_positions(settings.seeds.sample_index, wanted, shape, query_count)
    per_query = wanted.samples_per_query
    per_request = min(settings.samples_per_request, per_query)
    requests = -(-per_query // per_request)
    return SeriesPlan(
        spec=spec,
        scenario=settings.scenario,
        effective=wanted,
        query_count=query_count,
        samples_per_query=per_query,
        samples_per_request=per_request,
        requests_per_query=requests,
        request_count=query_count * requests,
        samples=frozen(spec.loaded[positions].astype(np.int32).reshape(-1)),
        loaded_position=frozen(positions.astype(np.int32).reshape(-1)),
        scheduled_ns=frozen(schedule.scheduled_ns[:query_count]),
        sut_index=frozen(_sut_sequence(settings, query_count)),
        generated_query_count=generated,
        generated_duration_ns=schedule.generated_duration_ns,
        unbounded=unbounded,
    )


def _plan_offline(settings: Settings, wanted: Effective, spec: SeriesSpec) -> SeriesPlan:
    """One query of everything, split into requests; which SUT takes one is decided on the way."""
    loaded_count, accuracy = len(spec.loaded), spec.kind == "accuracy"
    count = spec.loaded_end if accuracy else wanted.samples_per_query
    if wanted.equal_issue and not accuracy:
        count = -(-count // loaded_count) * loaded_count
    shape = QueryShape(loaded_count, spec.loaded_end, 1, neighbours=False)
    positions = offline_positions(settings.seeds.sample_index, wanted, shape, count)
    per_request = min(settings.samples_per_request, count)
    requests = -(-count // per_request)
    return SeriesPlan(
        spec=spec,
        scenario=settings.scenario,
        effective=wanted,
        query_count=1,
        samples_per_query=count,
        samples_per_request=per_request,
        requests_per_query=requests,
        request_count=requests,
        samples=frozen(spec.loaded[positions].astype(np.int32)),
        loaded_position=frozen(positions.astype(np.int32)),
        scheduled_ns=frozen(np.zeros(1, dtype=np.int64)),
        sut_index=frozen(np.empty(0, dtype=np.int16)),
        generated_query_count=1,
        generated_duration_ns=int(NS_PER_S * (1 / wanted.target_qps)),
        unbounded=False,
    )


def plan_hash(settings: Settings, counts: SampleCounts, trace_ns: Int64Array | None = None) -> str:
    """``plan-v1:<sha256>``: equal hashes mean identical traffic, whatever the worker count.

    Closed loops promise samples; offline samples and their split into requests; open loops also
    instants and SUTs.
    """
    specs = series_specs(settings, counts)
    return hash_plans(plan_series(settings, counts, spec, trace_ns) for spec in specs)


def hash_plans(plans: Iterable[SeriesPlan]) -> str:
    """``plan_hash`` of plans that exist already: all series of a run, in order."""
    digest = ColumnHash(PLAN_HASH_VERSION)
    for plan in plans:
        _hash_series(digest, plan)
    return digest.finish()


def _hash_series(digest: ColumnHash, plan: SeriesPlan) -> None:
    row = SCENARIOS[plan.scenario]
    digest.text("series", f"{plan.spec.index}:{plan.spec.kind}:{plan.scenario}")
    digest.text("samples_per_query", str(plan.samples_per_query))
    digest.text("samples_per_request", str(plan.samples_per_request))
    digest.column("samples", plan.samples)
    if plan.sequences is not None:
        digest.column("sequence_first_row", plan.sequences.first_row)
        digest.text("sequence_ids", f"{plan.sequences.id_start}+{plan.sequences.id_step}n")
    if not row.closed and not row.pulled:
        digest.column("scheduled_ns", plan.scheduled_ns)
        digest.column("sut_index", plan.sut_index)
        if not len(plan.sut_index):
            digest.text("routing", "dynamic")  # which SUT is no promise of this plan


WORKLOAD_FIELDS: Final = (
    "scenario",
    "mode",
    "samples_per_query",
    "samples_per_request",
    "target_latency_ms",
    "target_latency_percentile",
    "min_duration_ms",
    "min_query_count",
    "performance_issue_unique",
    "performance_issue_same",
    "performance_issue_same_index",
    "sample_concatenate_permutation",
    "accuracy_sample_count",
    "use_token_latencies",
    "ttft_latency_ms",
    "tpot_latency_ms",
)
_WORKLOAD_SEEDS: Final = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")


def workload_fields(scenario: str) -> tuple[str, ...]:
    """Settings that two runs of a scenario must share to be comparable."""
    return (*WORKLOAD_FIELDS, *SCENARIOS[scenario].load_settings)


def workload_hash(settings: Settings, counts: SampleCounts, dataset_hash: str) -> str:
    """``workload-v1:<sha256>``: equal hashes mean comparable runs (task, data, limits, seeds)."""
    fields = workload_fields(settings.scenario)
    values: dict[str, object] = {name: getattr(settings, name) for name in fields}
    values.update(zip(_WORKLOAD_SEEDS, settings.seeds, strict=True))
    values["dataset_hash"] = dataset_hash
    values["total_sample_count"] = counts.total
    values["performance_sample_count"] = performance_sample_count(settings, counts)
    if counts.sequences is not None:
        values["sequences"] = counts.sequences.to_lists()
    return mapping_hash(WORKLOAD_HASH_VERSION, values)


def _block_length(wanted: Effective, shape: QueryShape) -> int:
    """Queries after which an unbounded plan repeats: whole permutations under equal issue."""
    if not wanted.equal_issue:
        return UNBOUNDED_BLOCK
    rounds = -(-shape.first_query_count // shape.loaded_count)
    permutations = rounds * shape.loaded_count
    return max(1, UNBOUNDED_BLOCK // permutations) * permutations


def _sut_sequence(settings: Settings, query_count: int) -> Int16Array:
    """Round robin by query, or a seeded sequence that follows the weights; empty where each is
    chosen when it is issued."""
    sut_count = max(1, len(settings.sut))
    if settings.routing == "least_outstanding" and sut_count > 1:
        return np.empty(0, dtype=np.int16)
    if settings.routing != "weights":
        return np.resize(np.arange(sut_count, dtype=np.int16), query_count)
    words = RandomWords(settings.seeds.schedule ^ _SUT_SEED)
    bounds = np.cumsum(np.array(settings.sut_weights, dtype=np.float64))
    drawn = words.canonical_many(query_count) * bounds[-1]
    # Rounding may lift a draw to the last bound itself; it belongs to the last SUT.
    chosen = np.searchsorted(bounds[:-1], drawn, side="right")
    weighted: Int16Array = chosen.astype(np.int16)
    return weighted
