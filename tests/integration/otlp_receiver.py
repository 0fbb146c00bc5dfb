"""A collector in the test: takes OTLP over HTTP and over gRPC, and keeps the spans it got."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Received:
    """Spans by the service that sent them, with their attributes as a dict."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = {}
        self.http = self.grpc = ""
        self._lock = threading.Lock()

    def take(self, message: bytes) -> bytes:
        request = otlp.ExportTraceServiceRequest.FromString(message)
        with self._lock:
            for resource in request.resource_spans:
                name = attributes_of(resource.resource)["service.name"]
                for scope in resource.scope_spans:
                    self.spans.setdefault(name, []).extend(scope.spans)
        answer: bytes = otlp.ExportTraceServiceResponse().SerializeToString()
        return answer


def attributes_of(thing: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in thing.attributes}


@contextmanager
def otlp_receiver() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = received.take(body) if self.path == "/v1/traces" else b""
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words: object) -> None:
            """Quiet."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    server = grpc.server(ThreadPoolExecutor(2))
    export = grpc.unary_unary_rpc_method_handler(lambda message, _: received.take(message))
    service, _, method = EXPORT[1:].rpartition("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: export}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    received.http = f"http://127.0.0.1:{listener.server_port}"
    received.grpc = f"grpc://127.0.0.1:{port}"
    try:
        yield received
    finally:
        server.stop(None)
        listener.shutdown()
        listener.server_close()
        thread.join(10)
