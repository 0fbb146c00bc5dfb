"""The scenario table: the only place that says in what the scenarios differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    """What the pacer, the planner and the judge need to know of a scenario.

    ``due``: where due times come from. ``loop``: open loops follow instants, closed loops follow
    completions. ``ends``: who ends it. ``duration_clock``: which instant must reach
    min_duration_ms (LoadGen, specification 3.4). ``load_settings``: what says how much is out at
    once, where that is given and not measured; runs that differ in it are no comparison.
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
    load_settings: tuple[str, ...] = ()


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
    ),
}
