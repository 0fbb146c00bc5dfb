"""Prometheus reads the models' figures when it scrapes; nothing is added on a request's way."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from sut_server.engines.engine import Engine
from sut_server.engines.model_stats import Buckets
from sut_server.errors import Code, UsageError
from sut_server.options import TlsFiles

NS_PER_S = 1e9
SCRAPE_S = 10.0
_SPANS = (
    ("latency", "sut_server_latency_seconds", "From receipt of a request to its answer."),
    ("queue", "sut_server_queue_seconds", "From receipt of a request to the start of its batch."),
    ("compute", "sut_server_compute_seconds", "Time in the model, of the batch of a request."),
)

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class FiguresCollector(Collector):
    """All models' figures as metric families, made at scrape time."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = list(engines)

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        outstanding = GaugeMetricFamily(
            "sut_server_outstanding_requests", "Received and not settled.", labels=["model"]
        )
        for engine in self._engines:
            outstanding.add_metric([engine.spec.name], engine.figures.outstanding_count)
        yield outstanding
        for attribute, name, text in _SPANS:
            yield self._histogram(attribute, name, text, NS_PER_S)
        yield self._histogram("batch_rows", "sut_server_batch_size", "Samples in a batch.", 1)

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "sut_server_requests", "Settled requests by gRPC status.", labels=["model", "status"]
        )
        for engine in self._engines:
            for code, count in list(engine.figures.by_code.items()):
                family.add_metric([engine.spec.name, Code(code).name.lower()], count)
        return family

    def _histogram(self, attribute: str, name: str, text: str, unit: float) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["model"])
        for engine in self._engines:
            buckets: Buckets = getattr(engine.figures, attribute)
            family.add_metric(
                [engine.spec.name], _cumulative(buckets, unit), sum_value=buckets.total / unit
            )
        return family


def _cumulative(buckets: Buckets, unit: float) -> list[tuple[str, float]]:
    bounds = [*(str(bound / unit) for bound in buckets.bounds), "+Inf"]
    rows: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip(bounds, list(buckets.counts), strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows


def serve_metrics(
    engines: Iterable[Engine], host: str, port: int, tls: TlsFiles | None
) -> WSGIServer:
    """Serve ``/metrics`` from a thread until ``shutdown`` of what is returned; port 0 picks one."""
    registry = CollectorRegistry()
    registry.register(FiguresCollector(engines))
    try:
        server, _ = start_http_server(
            port,
            host,
            registry,
            certfile=str(tls.certificate) if tls else None,
            keyfile=str(tls.key) if tls else None,
            client_cafile=str(tls.client_ca) if tls and tls.client_ca else None,
            client_auth_required=bool(tls and tls.client_ca),
        )
        handler: Any = server.RequestHandlerClass
        # a scraper that stops in the middle of its request would hold a thread for ever
        server.RequestHandlerClass = type("Scrape", (handler,), {"timeout": SCRAPE_S})
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--metrics-port {port}: cannot listen on {host}: {error}") from error
    return server
