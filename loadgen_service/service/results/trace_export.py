"""Sends the spans of a run's sampled queries to a collector by OTLP, once, within a deadline.

Whatever happens here is a line in the summary: a run is never worse for its traces. Blocking.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from loadgen_service.core.facts.run import RunFacts
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.settings import Settings
from loadgen_service.core.tracing.spans import SeriesSpans, TraceSpan
from loadgen_service.core.verdict.judge import series_facts
from loadgen_service.errors import UserError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from requests import Session

QUERIES_MAX: Final = 10_000
"""Traced queries of one run; those after them are counted, not sent."""

SPANS_A_BATCH: Final = 512
EXPORT_S: Final = 10.0
"""For all spans of a run; the exporter repeats within it what a collector says to repeat."""


def require_exporter(settings: Settings) -> None:
    """Raises UserError where a run wants traces and the extra is not installed."""
    if not settings.otlp_endpoint:
        return
    try:
        import opentelemetry.exporter.otlp.proto.grpc
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401  # looked for, not used
    except ImportError:
        raise UserError(
            "otlp_endpoint: needs OpenTelemetry; pip install 'loadgen-service[otel]'"
        ) from None


class RunTraces:
    """The spans of a run, series by series, then one export."""

    def __init__(self, settings: Settings, facts: RunFacts) -> None:
        self._settings = settings
        self._facts = facts
        self._spans: list[TraceSpan] = []
        self._query_count = self._left_out = 0

    def add(self, plan: SeriesPlan, table: RequestTable) -> None:
        """Take the sampled queries of a series, as far as there is room."""
        if not self._settings.trace_sample_rate:
            return
        start_unix_ns = series_facts(self._facts, plan.spec.index).start_unix_ns
        series = SeriesSpans(self._settings, self._facts, plan, start_unix_ns)
        units = series.sampled_units(table)
        taken = units[: QUERIES_MAX - self._query_count]
        self._query_count += len(taken)
        self._left_out += len(units) - len(taken)
        self._spans.extend(series.spans(table, taken))

    def export(self, limit_s: float = EXPORT_S) -> str:
        """Send all; what to say of it in the summary, empty where nothing was asked for."""
        if not self._settings.trace_sample_rate:
            return ""
        sent, trouble = _export(
            self._settings.otlp_endpoint, self._resource(), self._spans, limit_s
        )
        place = urlsplit(self._settings.otlp_endpoint).netloc
        said = f"traces: {self._query_count} queries sampled, {sent} of {len(self._spans)} spans "
        said += f"sent to {place}"
        if trouble:
            said += f"; the rest was not: {trouble}"
        if self._left_out:
            said += f"; {self._left_out} more sampled queries were left out ({QUERIES_MAX} a run)"
        return said

    def _resource(self) -> dict[str, str]:
        return {"service.name": "loadgen", "service.instance.id": self._facts.run_id}


def _export(
    endpoint: str, resource: dict[str, str], spans: list[TraceSpan], limit_s: float
) -> tuple[int, str]:
    """How many spans a collector took, and why not all."""
    with _heard() as words:
        try:
            exporter = make_exporter(endpoint, limit_s)
            ending = threading.Timer(limit_s, exporter.shutdown)
            ending.daemon = True
            ending.start()
            try:
                return _send(exporter, _readable(resource, spans), words)
            finally:
                ending.cancel()
                exporter.shutdown()
        except Exception as error:  # a foreign package must not cost the user the results
            return 0, f"{type(error).__name__}: {error}"


def _send(
    exporter: SpanExporter, spans: Iterator[ReadableSpan], words: list[str]
) -> tuple[int, str]:
    sent = 0
    while batch := list(islice(spans, SPANS_A_BATCH)):
        if exporter.export(batch).name != "SUCCESS":
            return sent, words[-1] if words else "the collector refused them"
        sent += len(batch)
    return sent, ""


def make_exporter(endpoint: str, limit_s: float) -> SpanExporter:
    """OpenTelemetry's own; headers, certificates and compression by its OTEL_ variables."""
    url = urlsplit(endpoint)
    if url.scheme in ("grpc", "grpcs"):
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as by_grpc

        return by_grpc.OTLPSpanExporter(
            # a bare "unix:4317" would name another resolver than the allow rule's
            endpoint=f"dns:///{url.netloc}",
            insecure=url.scheme == "grpc",
            timeout=limit_s,
        )
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as by_http

    where = endpoint if url.path.strip("/") else f"{url.scheme}://{url.netloc}/v1/traces"
    return by_http.OTLPSpanExporter(endpoint=where, timeout=limit_s, session=_session())


def _session() -> Session:
    """Follows no redirect: the collector's secret goes where the operator allowed, no further."""
    from requests import Session

    session = Session()
    session.max_redirects = 0
    return session


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the exporter logs meanwhile, one line each, instead of on our stderr."""
    words: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words.append(" ".join(record.getMessage().split())[:300])

    logger, listener = logging.getLogger("opentelemetry"), Listener()
    logger.addHandler(listener)
    before, logger.propagate = logger.propagate, False
    try:
        yield words
    finally:
        logger.propagate = before
        logger.removeHandler(listener)


def _readable(resource: dict[str, str], spans: Iterable[TraceSpan]) -> Iterator[ReadableSpan]:
    """Our spans as the exporter wants them."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

    from loadgen_service.version import __version__

    about = Resource({**resource, "service.version": __version__})
    scope = InstrumentationScope("loadgen", __version__)

    def context(trace_id: int, span_id: int) -> Any:
        return SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED))

    for span in spans:
        yield ReadableSpan(
            name=span.name,
            context=context(span.trace_id, span.span_id),
            parent=context(span.trace_id, span.parent_id) if span.parent_id else None,
            resource=about,
            attributes=span.attributes,
            events=[Event(name, timestamp=at_ns) for name, at_ns in span.events],
            kind=SpanKind.CLIENT if span.is_call else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=scope,
        )
