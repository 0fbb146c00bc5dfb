"""Workers as Prometheus metrics: what their last heartbeat said, by their place in the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily

from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.core.figures.figure import figures_of
from loadgen_service.core.units import NS_PER_S
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import Sessions
from loadgen_service.web.prometheus_labels import StreamLabel


def worker_families(
    sessions: Sessions, runs: Sequence[Run], by_stream: StreamLabel
) -> Iterator[GaugeMetricFamily]:
    """The workers of the runs that go on, none between runs, and how many speak to us."""
    statuses = [
        (by_stream.values(str(status.worker_index), run.stream_name), status)
        for run in runs
        if not run.is_over
        for status in run.worker_statuses()
    ]
    labels = by_stream.names("worker")
    up = GaugeMetricFamily(
        "loadgen_worker_up", "1 while it is heard, 0 once it is lost.", labels=labels
    )
    for values, status in statuses:
        up.add_metric(values, float(not status.lost))
    yield up
    for field, figure in figures_of(WorkerReport).items():
        if not figure.metric:
            continue
        family = GaugeMetricFamily(figure.metric, f"{figure.about}.".capitalize(), labels=labels)
        for values, status in statuses:
            if field in status.report.figures:
                value = status.report.figures[field]
                family.add_metric(values, figure.to_prometheus(value))
        yield family
    error = GaugeMetricFamily(
        "loadgen_worker_clock_error_seconds",
        "Error of its clock's offset to the service's.",
        labels=labels,
    )
    for values, status in statuses:
        error.add_metric(values, status.clock.error_ns / NS_PER_S)
    yield error
    idle = len(sessions.idle())
    workers = GaugeMetricFamily(
        "loadgen_workers", "Workers that speak to this service.", labels=["state"]
    )
    workers.add_metric(["idle"], idle)
    workers.add_metric(["leased"], sum(bool(w.run_id) for w in sessions.workers.values()))
    yield workers
