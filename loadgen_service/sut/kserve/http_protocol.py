"""KServe v2 over HTTP: requests with binary tensors, or with tensors as numbers in JSON."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.sut.descriptor import Build, ProtocolDescriptor, RequestSource
from loadgen_service.sut.http.compression import compressed_http
from loadgen_service.sut.http.path import accepted, http_path
from loadgen_service.sut.http.pool import HttpSut
from loadgen_service.sut.interface import Sink, SystemUnderTest
from loadgen_service.sut.kserve.http_control import KserveHttpControl
from loadgen_service.sut.kserve.http_request import (
    BINARY,
    HttpInferAnswer,
    HttpInferBuilder,
    infer_head,
    model_path,
)
from loadgen_service.sut.kserve.json_request import JSON, JsonInferBuilder
from loadgen_service.sut.kserve.sequence_params import marked_http
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.credentials import read_authority, read_text_headers
from loadgen_service.sut.net.proxy_env import forwarding, proxy_of


async def make(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The adapter of one KServe v2 server over HTTP, not connected yet. Raises ``UserError``."""
    if streaming:
        raise UserError(
            f"sut: {address} is asked for answers in pieces, which KServe v2 has over gRPC only; "
            "use grpc://, or --streaming off for a model that answers once"
        )
    proxy = proxy_of(address)
    origin, extra = forwarding(address, proxy)
    path = origin + address.path + model_path(settings.model, settings.model_version)
    headers = (*read_text_headers(settings.header), *extra, *accepted(settings))
    keep = settings.keeps_responses
    content_type = JSON if settings.http_tensors == "json" else BINARY
    authority = read_authority(settings.header) or address.authority
    head = infer_head(path, authority, headers, content_type)
    return HttpSut(
        await http_path(settings, address, proxy, head, lambda: HttpInferAnswer(keep)), sink
    )


def build(source: RequestSource) -> Build:
    """Requests as header lines, JSON and tensors."""
    asks_json = source.settings.http_tensors == "json"
    builder = JsonInferBuilder if asks_json else HttpInferBuilder
    return builder(source.tensors, source.batched, source.tensors_of, source.shapes_of).build


KSERVE_HTTP: Final = ProtocolDescriptor(
    make=make, build=build, control=KserveHttpControl, compress=compressed_http, mark=marked_http
)
