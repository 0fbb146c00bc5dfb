"""The scenario table: the only place that says in what the scenarios differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScenarioName = Literal["single_stream", "multi_stream", "server", "offline", "burst", "concurrency"]

MetricName = Literal[
    "early_stopping_latency",
    "completed_samples_per_second",
    "samples_per_second",
    "target_percentile_latency",
    "completed_qps",
]

RateName = Literal[
    "completed_samples_per_second",
    "scheduled_samples_per_second",
    "samples_per_second",
    "qps_with_overhead",
    "qps_without_overhead",
]


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    """What the pacer, the planner and the judge need to know of a scenario.

    ``due``: where due times come from. ``closed``: closed loops follow completions, open ones
    instants. ``duration_clock``: which instant must reach min_duration_ms (LoadGen, specification
    3.4). ``load_settings``: what says how much is out at once, where that is given and not
    measured; runs that differ in it are no comparison. ``metric``: the one number that it is
    about, what LoadGen's submission takes, ours where LoadGen has none. ``rates``: figures of
    specification 3.3 that it has. ``loadgen_name``: its name in LoadGen; empty where LoadGen has
    no such scenario. ``relief``: how to lower its load.
    """

    due: Literal["completion", "arrivals", "start", "bursts"]
    closed: bool
    one_worker: bool
    splits_queries: bool
    pulled: bool
    percentile: float
    default_target_latency_ms: float
    latency_judged: bool
    lateness_judged: bool
    early_stopping: Literal["estimate", "limit", "bursts", "none"]
    duration_clock: Literal["issued", "scheduled", "latency", "window"]
    metric: MetricName
    metric_unit: Literal["ns", "1/s"]
    rates: tuple[RateName, ...] = ()
    loadgen_name: str = ""
    load_settings: tuple[str, ...] = ()
    relief: str = "make the SUT faster"


SCENARIOS: dict[str, ScenarioRow] = {
    "single_stream": ScenarioRow(
        due="completion",
        closed=True,
        one_worker=True,
        splits_queries=False,
        pulled=False,
        percentile=90.0,
        default_target_latency_ms=0.0,
        latency_judged=False,
        lateness_judged=False,
        early_stopping="estimate",
        duration_clock="issued",
        metric="early_stopping_latency",
        metric_unit="ns",
        rates=("qps_with_overhead", "qps_without_overhead"),
        loadgen_name="SingleStream",
    ),
    "multi_stream": ScenarioRow(
        due="completion",
        closed=True,
        one_worker=True,
        splits_queries=True,
        pulled=False,
        percentile=99.0,
        default_target_latency_ms=0.0,
        latency_judged=False,
        lateness_judged=False,
        early_stopping="estimate",
        duration_clock="issued",
        metric="early_stopping_latency",
        metric_unit="ns",
        loadgen_name="MultiStream",
    ),
    "server": ScenarioRow(
        due="arrivals",
        closed=False,
        one_worker=False,
        splits_queries=False,
        pulled=False,
        percentile=99.0,
        default_target_latency_ms=100.0,
        latency_judged=True,
        lateness_judged=True,
        early_stopping="limit",
        duration_clock="scheduled",
        metric="completed_samples_per_second",
        metric_unit="1/s",
        rates=("completed_samples_per_second", "scheduled_samples_per_second"),
        loadgen_name="Server",
        relief="lower --target-qps",
    ),
    "offline": ScenarioRow(
        due="start",
        closed=False,
        one_worker=False,
        splits_queries=True,
        pulled=True,
        percentile=99.0,
        default_target_latency_ms=0.0,
        latency_judged=False,
        lateness_judged=False,
        early_stopping="none",
        duration_clock="latency",
        metric="samples_per_second",
        metric_unit="1/s",
        rates=("samples_per_second",),
        loadgen_name="Offline",
    ),
    "burst": ScenarioRow(
        due="bursts",
        closed=False,
        one_worker=False,
        splits_queries=False,
        pulled=False,
        percentile=99.0,
        default_target_latency_ms=100.0,
        latency_judged=True,
        lateness_judged=True,
        early_stopping="bursts",
        duration_clock="scheduled",
        load_settings=("burst_query_count",),
        metric="target_percentile_latency",
        metric_unit="ns",
        relief="lower --burst-query-count",
    ),
    "concurrency": ScenarioRow(
        due="completion",
        closed=True,
        one_worker=False,
        splits_queries=False,
        pulled=False,
        percentile=99.0,
        default_target_latency_ms=0.0,
        latency_judged=False,
        lateness_judged=False,
        early_stopping="none",
        duration_clock="window",
        load_settings=("concurrency",),
        metric="completed_qps",
        metric_unit="1/s",
        relief="lower --concurrency",
    ),
}
