"""The service's figures as Prometheus metrics, made when somebody scrapes and at no other time.

Decides names, labels and buckets (docs/how-to/prometheus.md); measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from loadgen_service.core.run_state import RunState
from loadgen_service.core.stats.histogram import Histogram, exact_bounds
from loadgen_service.core.units import NS_PER_S
from loadgen_service.service.coordinator import Coordinator
from loadgen_service.service.run.lifetime_totals import Sums
from loadgen_service.service.run.run import Run
from loadgen_service.version import __version__
from loadgen_service.web.prometheus_labels import StreamLabel
from loadgen_service.web.prometheus_workers import worker_families

BOUNDS_NS: Final = exact_bounds(13, 36, 4)
"""8.2 us to 68.7 s, four a doubling. Edges of our own histogram: what is counted under a bound here
is exactly what was recorded under it."""

_LABELS_LE: Final = [str(bound / NS_PER_S) for bound in BOUNDS_NS]

VERDICTS: Final = ("valid", "invalid", "unjudged")
OUTCOMES: Final = (*VERDICTS, "failed", "interrupted")

ByStream = Mapping[str, Sums]

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily


class RunMetrics(Collector):
    """All runs of a coordinator, as metric families made at scrape time."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        """Every family; sums cover the life of the service and never fall."""
        coordinator, runs = self._coordinator, self._coordinator.conducted
        now_ns = coordinator.sessions.clock()
        sums = coordinator.totals.with_runs(runs, now_ns)
        label = StreamLabel(any(sums))
        yield from _request_families(sums, label)
        yield from _time_families(sums, label)
        yield _outstanding(runs, label)
        yield from worker_families(coordinator.sessions, runs, label)
        yield from _run_families(runs, now_ns, label)
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


def _request_families(sums: ByStream, label: StreamLabel) -> Iterator[Metric]:
    scheduled = CounterMetricFamily(
        "loadgen_requests_scheduled", "Requests that the plan made due.", labels=label.names("kind")
    )
    issued = CounterMetricFamily(
        "loadgen_requests_issued", "Requests handed to a SUT.", labels=label.names("worker", "kind")
    )
    settled = CounterMetricFamily(
        "loadgen_requests",
        "Requests that ended, by status.",
        labels=label.names("sut", "kind", "status"),
    )
    lost = CounterMetricFamily(
        "loadgen_requests_lost",
        "Requests of runs that are over, issued and never recorded.",
        labels=label.names("kind"),
    )
    for stream, one in sums.items():
        for kind, count in one.scheduled.items():
            scheduled.add_metric(label.values(kind, stream), count)
        for (worker, kind), issuing in one.by_worker.items():
            issued.add_metric(label.values(str(worker), kind, stream), issuing.issued)
        for (sut, kind), tally in one.by_sut.items():
            for status in ("completed", "failed", "timed_out"):
                count = getattr(tally, status)
                settled.add_metric(label.values(sut, kind, status, stream), count)
        for kind, count in one.lost.items():
            lost.add_metric(label.values(kind, stream), count)
    yield from (scheduled, issued, settled, lost)


def _time_families(sums: ByStream, label: StreamLabel) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "loadgen_latency_seconds",
        "From the scheduled instant to the answer, of completed requests.",
        labels=label.names("sut", "kind"),
    )
    service = HistogramMetricFamily(
        "loadgen_service_time_seconds",
        "From the issue to the answer, of completed requests.",
        labels=label.names("sut", "kind"),
    )
    delay = HistogramMetricFamily(
        "loadgen_issue_delay_seconds",
        "From the scheduled instant to the issue.",
        labels=label.names("worker", "kind"),
    )
    for stream, one in sums.items():
        for (sut, kind), tally in one.by_sut.items():
            _add(latency, label.values(sut, kind, stream), tally.latency_ns)
            _add(service, label.values(sut, kind, stream), tally.service_ns)
        for (worker, kind), issuing in one.by_worker.items():
            _add(delay, label.values(str(worker), kind, stream), issuing.issue_delay_ns)
    yield from (latency, service, delay)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts = histogram.cumulative_counts(BOUNDS_NS)
    buckets = [(le, float(count)) for le, count in zip(_LABELS_LE, counts, strict=True)]
    buckets.append(("+Inf", float(histogram.count)))
    family.add_metric(labels, buckets, sum_value=histogram.total / NS_PER_S)


def _outstanding(runs: Sequence[Run], label: StreamLabel) -> Metric:
    family = GaugeMetricFamily(
        "loadgen_outstanding_requests",
        "Issued, and not known to have ended.",
        labels=label.names(),
    )
    for run in runs:
        family.add_metric(label.values(run.stream_name), _out_of(run))
    if not runs:
        family.add_metric(label.values(""), 0)
    return family


def _out_of(run: Run) -> int:
    if run.is_over or run.collector is None or run.series is None:
        return 0
    live = run.collector.live.get(run.series.index)
    return live.issued - live.all.settled if live else 0


# name, help, and the figure in base units
_RUN_GAUGES: Final[tuple[tuple[str, str, Callable[[Run], float]], ...]] = (
    ("loadgen_run_planned_seconds", "Last instant of the plan.", lambda r: r.planned_ns / NS_PER_S),
    ("loadgen_run_target_qps", "The rate asked for.", lambda r: r.settings.target_qps),
    (
        "loadgen_run_latency_limit_seconds",
        "The limit that is judged; 0: none.",
        lambda r: r.settings.latency_limit_ns / NS_PER_S,
    ),
    (
        "loadgen_run_issue_delay_budget_seconds",
        "Largest p99 of lateness of the generator.",
        lambda r: r.settings.issue_delay_budget_ns / NS_PER_S,
    ),
)


def _run_families(runs: Sequence[Run], now_ns: int, label: StreamLabel) -> Iterator[Metric]:
    """The run that is conducted or was last, or its streams; ids stand on the info metric alone."""
    told = [(run.stream_name, run.state.name.lower(), run.outcome) for run in runs] or [
        ("", "", "")
    ]
    states = {stream: state for stream, state, _ in told}
    verdicts = {stream: outcome for stream, _, outcome in told}
    yield _enum("loadgen_run_state", "Where the run stands.", "state", states, _STATES, label)
    yield _enum(
        "loadgen_run_verdict", "What the run was judged.", "verdict", verdicts, VERDICTS, label
    )
    if not runs:
        return
    info = InfoMetricFamily(
        "loadgen_run", "The run that goes on or was last.", labels=label.names()
    )
    elapsed = GaugeMetricFamily(
        "loadgen_run_elapsed_seconds", "Since the series' start.", labels=label.names()
    )
    for run in runs:
        values, settings = label.values(run.stream_name), run.settings
        info.add_metric(
            values,
            {
                "run_id": run.run_id,
                "scenario": settings.scenario,
                "mode": settings.mode,
                "model": settings.model,
            },
        )
        elapsed.add_metric(values, _elapsed_ns(run, now_ns) / NS_PER_S)
    yield from (info, elapsed)
    for name, text, figure in _RUN_GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=label.names())
        for run in runs:
            gauge.add_metric(label.values(run.stream_name), figure(run))
        yield gauge


def _elapsed_ns(run: Run, now_ns: int) -> int:
    began = run.t0_ns and run.state in (RunState.RUNNING, RunState.DRAINING)
    return max(0, now_ns - run.t0_ns) if began else 0


_STATES: Final = tuple(state.name.lower() for state in RunState)


def _enum(
    name: str,
    text: str,
    of: str,
    now: Mapping[str, str],
    values: tuple[str, ...],
    label: StreamLabel,
) -> Metric:
    """``now``: the value that holds, by stream."""
    family = GaugeMetricFamily(
        name, f"{text} 1 for the one that holds, else 0.", labels=label.names(of)
    )
    for stream, holds in now.items():
        for value in values:
            family.add_metric(label.values(value, stream), float(value == holds))
    return family


def _outcomes(outcomes: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily("loadgen_runs", "Runs that are over.", labels=["outcome"])
    for outcome in OUTCOMES:
        family.add_metric([outcome], outcomes.get(outcome, 0))
    return family


def _queued(coordinator: Coordinator) -> Metric:
    count = sum(run.state is RunState.QUEUED for run in coordinator.runs.values())
    return GaugeMetricFamily("loadgen_queued_runs", "Runs that wait for their turn.", value=count)
