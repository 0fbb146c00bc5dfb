"""The service's figures as Prometheus metrics, made when somebody scrapes and at no other time.

Decides names, labels and buckets (docs/prometheus.md); measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from loadgen_service import __version__
from loadgen_service.core.histogram import Histogram, exact_bounds
from loadgen_service.core.run_state import RunState
from loadgen_service.service.coordinator import Coordinator
from loadgen_service.service.run import Run
from loadgen_service.service.totals import Sums
from loadgen_service.web.worker_metrics import worker_families

NS_PER_S: Final = 1e9
NS_PER_MS: Final = 1_000_000

BOUNDS_NS: Final = exact_bounds(13, 36, 4)
"""8.2 us to 68.7 s, four a doubling. Edges of our own histogram: what is counted under a bound here
is exactly what was recorded under it."""

_LABELS_LE: Final = [str(bound / NS_PER_S) for bound in BOUNDS_NS]

VERDICTS: Final = ("valid", "invalid", "unjudged")
OUTCOMES: Final = (*VERDICTS, "failed", "interrupted")

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily


class RunMetrics(Collector):
    """All runs of a coordinator, as metric families made at scrape time."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        """Every family; sums cover the life of the service and never fall."""
        coordinator, run = self._coordinator, self._coordinator.conducted
        now_ns = coordinator.sessions.clock()
        sums = coordinator.totals.with_run(run, now_ns)
        yield from _request_families(sums)
        yield from _time_families(sums)
        yield _outstanding(run)
        yield from worker_families(coordinator.sessions, run)
        yield from _run_families(run, now_ns)
        yield _outcomes(coordinator.totals.outcomes)
        yield _queued(coordinator)
        yield InfoMetricFamily("loadgen_build", "The program.", {"version": __version__})


def make_registry(coordinator: Coordinator) -> CollectorRegistry:
    """The metrics of a service and of the process that it runs in."""
    registry = CollectorRegistry()
    registry.register(RunMetrics(coordinator))
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """What a scrape gets, in Prometheus' text format 0.0.4."""
    return generate_latest(registry)


def _request_families(sums: Sums) -> Iterator[Metric]:
    scheduled = CounterMetricFamily(
        "loadgen_requests_scheduled", "Requests that the plan made due.", labels=["kind"]
    )
    for kind, count in sums.scheduled.items():
        scheduled.add_metric([kind], count)
    yield scheduled
    issued = CounterMetricFamily(
        "loadgen_requests_issued", "Requests handed to a SUT.", labels=["worker", "kind"]
    )
    for (worker, kind), issuing in sums.by_worker.items():
        issued.add_metric([str(worker), kind], issuing.issued)
    yield issued
    settled = CounterMetricFamily(
        "loadgen_requests", "Requests that ended, by status.", labels=["sut", "kind", "status"]
    )
    for (sut, kind), tally in sums.by_sut.items():
        for status in ("completed", "failed", "timed_out"):
            settled.add_metric([sut, kind, status], getattr(tally, status))
    yield settled
    lost = CounterMetricFamily(
        "loadgen_requests_lost",
        "Requests of runs that are over, issued and never recorded.",
        labels=["kind"],
    )
    for kind, count in sums.lost.items():
        lost.add_metric([kind], count)
    yield lost


def _time_families(sums: Sums) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "loadgen_latency_seconds",
        "From the scheduled instant to the answer, of completed requests.",
        labels=["sut", "kind"],
    )
    service = HistogramMetricFamily(
        "loadgen_service_time_seconds",
        "From the issue to the answer, of completed requests.",
        labels=["sut", "kind"],
    )
    for (sut, kind), tally in sums.by_sut.items():
        _add(latency, [sut, kind], tally.latency_ns)
        _add(service, [sut, kind], tally.service_ns)
    delay = HistogramMetricFamily(
        "loadgen_issue_delay_seconds",
        "From the scheduled instant to the issue.",
        labels=["worker", "kind"],
    )
    for (worker, kind), issuing in sums.by_worker.items():
        _add(delay, [str(worker), kind], issuing.issue_delay_ns)
    yield from (latency, service, delay)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts = histogram.cumulative_counts(BOUNDS_NS)
    buckets = [(le, float(count)) for le, count in zip(_LABELS_LE, counts, strict=True)]
    buckets.append(("+Inf", float(histogram.count)))
    family.add_metric(labels, buckets, sum_value=histogram.total / NS_PER_S)


def _outstanding(run: Run | None) -> Metric:
    count = 0
    if run is not None and run.collector is not None and run.series is not None:
        live = run.collector.live.get(run.series.index)
        if live is not None and not run.is_over:
            count = live.issued - live.all.settled
    return GaugeMetricFamily(
        "loadgen_outstanding_requests", "Issued, and not known to have ended.", value=count
    )


def _run_families(run: Run | None, now_ns: int) -> Iterator[Metric]:
    """The run that is conducted or was last; its id stands on the info metric alone."""
    state = run.state.name.lower() if run else ""
    yield _enum("loadgen_run_state", "Where the run stands.", "state", state, _STATES)
    outcome = run.outcome if run else ""
    yield _enum("loadgen_run_verdict", "What the run was judged.", "verdict", outcome, VERDICTS)
    if run is None:
        return
    settings = run.settings
    yield InfoMetricFamily(
        "loadgen_run",
        "The run that goes on or was last.",
        {
            "run_id": run.run_id,
            "scenario": settings.scenario,
            "mode": settings.mode,
            "model": settings.model,
        },
    )
    began = run.t0_ns and run.state in (RunState.RUNNING, RunState.DRAINING)
    elapsed_ns = max(0, now_ns - run.t0_ns) if began else 0
    gauges = (
        ("loadgen_run_elapsed_seconds", "Since the series' start.", elapsed_ns / NS_PER_S),
        ("loadgen_run_planned_seconds", "Last instant of the plan.", run.planned_ns / NS_PER_S),
        ("loadgen_run_target_qps", "The rate asked for.", settings.target_qps),
        (
            "loadgen_run_latency_limit_seconds",
            "The limit that is judged; 0: none.",
            settings.latency_limit_ns / NS_PER_S,
        ),
        (
            "loadgen_run_issue_delay_budget_seconds",
            "Largest p99 of lateness of the generator.",
            settings.issue_delay_budget_ns / NS_PER_S,
        ),
    )
    for name, text, value in gauges:
        yield GaugeMetricFamily(name, text, value=value)


_STATES: Final = tuple(state.name.lower() for state in RunState)


def _enum(name: str, text: str, label: str, now: str, values: tuple[str, ...]) -> Metric:
    family = GaugeMetricFamily(name, f"{text} 1 for the one that holds, else 0.", labels=[label])
    for value in values:
        family.add_metric([value], float(value == now))
    return family


def _outcomes(outcomes: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily("loadgen_runs", "Runs that are over.", labels=["outcome"])
    for outcome in OUTCOMES:
        family.add_metric([outcome], outcomes.get(outcome, 0))
    return family


def _queued(coordinator: Coordinator) -> Metric:
    count = sum(run.state is RunState.QUEUED for run in coordinator.runs.values())
    return GaugeMetricFamily("loadgen_queued_runs", "Runs that wait for their turn.", value=count)
