"""Workers as Prometheus metrics: what their last heartbeat said, by their place in the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import Sessions
from loadgen_service.web.prometheus_labels import StreamLabel

NS_PER_S: Final = 1e9

# name, help, field of WorkerStatus, unit
_GAUGES: Final = (
    ("loadgen_worker_loop_lag_seconds", "Worst lag of its event loop in the last second.",
     "loop_lag_ns", NS_PER_S),
    ("loadgen_worker_cpu_cores", "Processor time by wall time.", "cpu_share", 1),
    ("loadgen_worker_cpu_stolen_ratio", "Its processors' time that the hypervisor gave to others.",
     "stolen_share", 1),
    ("loadgen_worker_cpu_waited_ratio", "Time that it was able to run and did not.",
     "waited_share", 1),
    ("loadgen_worker_resident_memory_bytes", "Resident memory.", "rss_bytes", 1),
    ("loadgen_worker_unacknowledged_batches", "Record batches that wait for the collector.",
     "unacknowledged_batches", 1),
)  # fmt: skip


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
    for name, text, field, unit in _GAUGES:
        family = GaugeMetricFamily(name, text, labels=labels)
        for values, status in statuses:
            family.add_metric(values, getattr(status, field) / unit)
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
