"""Spans of calls whose callers trace them: joined to the caller's trace by its ``traceparent``.

A call without a sampled trace context is an ordinary one. Spans leave on OpenTelemetry's own
thread, in batches, and are dropped where its queue is full or the collector does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sut_server.engines.calls import AnswerSink, Call
from sut_server.errors import Code, UsageError
from sut_server.http.connection import HttpCall, HttpConnection, HttpRequest

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SCHEMES: Final = ("http", "https", "grpc", "grpcs")
CLOSE_MS: Final = 3_000
"""At the end: how long the last spans may take."""


class Tracer:
    """Opens a span for each traced call. Raises UsageError without the extra ``otel``."""

    def __init__(self, endpoint: str, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            exporter = _exporter(endpoint)
        except ImportError:
            raise UsageError(
                "--otlp-endpoint needs OpenTelemetry; pip install 'loadgen-service[otel]'"
            ) from None
        self._provider = TracerProvider(resource=Resource({"service.name": "sut-server"}))
        self._processor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("sut-server")
        self._extract = TraceContextTextMapPropagator().extract

    def call(
        self,
        headers: Mapping[str, str],
        path: bytes,
        sink: AnswerSink,
        stream_id: int,
        received_ns: int,
        is_streamed: bool = False,
    ) -> Call:
        """The call of a gRPC method; ``headers``: the caller's metadata, names in lower case."""
        name = path.decode(errors="replace").strip("/")
        service, _, method = name.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        span = self._open(headers, name, attributes, received_ns)
        if span is None:
            return Call(sink, stream_id, received_ns, is_streamed)
        return TracedCall(span, sink, stream_id, received_ns, is_streamed)

    def http_call(self, connection: HttpConnection, request: HttpRequest) -> HttpCall:
        """The call of an HTTP request."""
        path = request.path.partition("?")[0]
        attributes = {"http.request.method": request.method, "url.path": path}
        name = f"{request.method} {path}"
        span = self._open(request.headers, name, attributes, request.received_ns)
        if span is None:
            return HttpCall(connection, request)
        return TracedHttpCall(span, connection, request)

    def _open(
        self, headers: Mapping[str, str], name: str, attributes: dict[str, str], received_ns: int
    ) -> Span | None:
        from opentelemetry.trace import SpanKind, get_current_span

        if "traceparent" not in headers:
            return None
        context = self._extract(headers)
        if not get_current_span(context).get_span_context().trace_flags.sampled:
            return None
        start_ns = time.time_ns() - (self._clock_ns() - received_ns)
        return self._tracer.start_span(
            name, context, SpanKind.SERVER, attributes, start_time=start_ns
        )

    def close(self) -> None:
        """Send what is left, within ``CLOSE_MS``. Blocking."""
        self._processor.force_flush(CLOSE_MS)
        self._provider.shutdown()


class TracedCall(Call):
    """A call whose span ends when it is settled."""

    __slots__ = ("_span",)

    def __init__(self, span: Span, *call: Any) -> None:
        super().__init__(*call)
        self._span = span

    def answer(self, parts: list[bytes]) -> None:
        """See ``Call``."""
        self._end(Code.OK, "")
        super().answer(parts)

    def refuse(self, code: Code, text: str) -> None:
        """See ``Call``."""
        self._end(code, text)
        super().refuse(code, text)

    def drop(self) -> None:
        """See ``Call``."""
        self._end(Code.CANCELLED, "never answered")
        super().drop()

    def gone(self) -> None:
        """See ``Call``."""
        self._end(Code.CANCELLED, "the caller has gone")
        super().gone()

    def _end(self, code: Code, text: str) -> None:
        if self.alive:
            self._span.set_attribute("rpc.grpc.status_code", int(code))
            _settle(self._span, "" if code == Code.OK else code.name, text)


class TracedHttpCall(HttpCall):
    """An HTTP call whose span ends with its answer."""

    __slots__ = ("_span", "_status")

    def __init__(self, span: Span, connection: HttpConnection, request: HttpRequest) -> None:
        super().__init__(connection, request)
        self._span = span
        self._status = 200

    def respond(self, status: int, content_type: str, body: bytes, headers: str = "") -> None:
        """See ``HttpCall``."""
        self._status = status
        super().respond(status, content_type, body, headers)

    def end(self) -> None:
        """See ``HttpCall``."""
        if self.alive:
            self._span.set_attribute("http.response.status_code", self._status)
            # a server's span is no failure of its own for what the caller did wrong
            _settle(self._span, str(self._status) if self._status >= 500 else "", "")
        super().end()

    def gone(self) -> None:
        """See ``HttpCall``."""
        if self.alive:
            _settle(self._span, "CANCELLED", "the caller has gone")
        super().gone()


def _settle(span: Span, error: str, text: str) -> None:
    from opentelemetry.trace.status import Status, StatusCode

    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR, text or None))
    span.end()


def _exporter(endpoint: str) -> Any:
    """OpenTelemetry's own; headers, certificates and compression by its OTEL_ variables."""
    url = urlsplit(endpoint)
    if url.scheme not in SCHEMES or not url.netloc:
        raise UsageError(
            f"--otlp-endpoint {endpoint}: give http://HOST:4318, https, grpc://HOST:4317 or grpcs"
        )
    if url.scheme in ("grpc", "grpcs"):
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as by_grpc

        return by_grpc.OTLPSpanExporter(endpoint=url.netloc, insecure=url.scheme == "grpc")
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as by_http

    where = endpoint if url.path.strip("/") else f"{url.scheme}://{url.netloc}/v1/traces"
    return by_http.OTLPSpanExporter(endpoint=where)
