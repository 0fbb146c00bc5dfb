"""Prometheus' view of the figures."""

from __future__ import annotations

import time
import urllib.request

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sut_server.engines.engine import Desk
from sut_server.engines.null import NullEngine, null_spec
from sut_server.errors import Code
from sut_server.messages.infer import Timings
from sut_server.metrics import FiguresCollector, serve_metrics


def engine_with_figures() -> NullEngine:
    engine = NullEngine(Desk(null_spec(), time.monotonic_ns))
    figures = engine.figures
    for latency_ns in (150_000, 2_000_000):
        timings = Timings(0, queue_ns=50_000, compute_ns=100_000, sent_ns=latency_ns)
        figures.succeed(figures.receive(0), 1, timings)
    figures.fail(figures.receive(0), Code.INTERNAL, 5)
    figures.receive(0)
    figures.execute(2, 100_000)
    return engine


def test_figures_become_counters_and_cumulative_histograms() -> None:
    registry = CollectorRegistry()
    registry.register(FiguresCollector([engine_with_figures()]))
    value = registry.get_sample_value
    null = {"model": "null"}
    assert value("sut_server_requests_total", null | {"status": "ok"}) == 2
    assert value("sut_server_requests_total", null | {"status": "internal"}) == 1
    assert value("sut_server_outstanding_requests", null) == 1
    assert value("sut_server_latency_seconds_bucket", null | {"le": "0.0001"}) == 0
    assert value("sut_server_latency_seconds_bucket", null | {"le": "0.00018"}) == 1
    assert value("sut_server_latency_seconds_bucket", null | {"le": "+Inf"}) == 2
    assert value("sut_server_latency_seconds_sum", null) == 0.00215
    assert value("sut_server_batch_size_bucket", null | {"le": "2.0"}) == 1


def test_metrics_are_served_and_parse() -> None:
    server = serve_metrics([engine_with_figures()], "127.0.0.1", 0, None)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names == {
        "sut_server_requests",
        "sut_server_outstanding_requests",
        "sut_server_latency_seconds",
        "sut_server_queue_seconds",
        "sut_server_compute_seconds",
        "sut_server_batch_size",
    }
