"""Servers and gateways as others run them: what control calls make of what they lack or misname."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from foreign_kserve import foreign_kserve
from tls_authority import Authority

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.control import Answers
from loadgen_service.sut.grpc.control import GrpcControl
from loadgen_service.sut.kserve.http_control import KserveHttpControl
from loadgen_service.sut.openai.control import OpenAiControl

TIMEOUT_NS = 10**10
Reply = tuple[int, Mapping[str, str], bytes]


def described(control: Callable[..., Any], **settings: Any) -> Answers:
    async def work() -> Answers:
        async with control(Settings(model="m", **settings), TIMEOUT_NS) as opened:
            answers: Answers = await opened.describe()
            return answers

    return asyncio.run(work())


def refusal(control: Callable[..., Any], **settings: Any) -> str:
    with pytest.raises(SutError) as caught:
        described(control, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextmanager
def http_server(reply: Callable[[str, str, Mapping[str, str]], Reply]) -> Iterator[int]:
    """A server of the standard library: ``reply(method, path, headers)`` answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, body = reply(self.command, self.path, dict(self.headers))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *parts: object) -> None:
            """Tests are quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(*names: str) -> Reply:
    return 200, {}, json.dumps({"data": [{"id": name} for name in names]}).encode()


NOT_FOUND: Reply = (404, {}, b'{"detail":"Not Found"}')


# ---------------------------------------------------------------- what is lacking
@pytest.mark.parametrize(
    "absent", [["ModelMetadata"], ["ModelMetadata", "ModelReady", "ServerMetadata", "ModelConfig"]]
)
def test_shape_stands_for_metadata_that_a_server_lacks(absent: list[str]) -> None:
    with foreign_kserve(absent=absent) as (port, _):
        sut = [f"grpc://127.0.0.1:{port}"]
        answers = described(GrpcControl, sut=sut, shape=["x:FP32:-1,4"])
        assert not answers.suts[0].inputs
        assert any("ModelMetadata" in one for one in answers.lacking)
        assert "--shape" in refusal(GrpcControl, sut=sut)


def test_shape_stands_for_metadata_that_rest_lacks() -> None:
    with http_server(lambda *_: NOT_FOUND) as port:
        sut = [f"http://127.0.0.1:{port}"]
        assert not described(KserveHttpControl, sut=sut, shape=["x:FP32:-1,4"]).suts[0].inputs
        assert "does not serve 'm'" in refusal(KserveHttpControl, sut=sut)


def test_the_configuration_says_what_is_optional_and_whether_there_is_a_batch() -> None:
    def config(made: Any) -> None:
        made.input.add(name="x", dims=[4], optional=True)

    with foreign_kserve(config=config) as (port, _):
        [sut] = described(GrpcControl, sut=[f"grpc://127.0.0.1:{port}"]).suts
        assert (sut.has_config, sut.max_batch_size, sut.inputs[0].optional) == (True, 0, True)
    with foreign_kserve() as (port, _):
        [sut] = described(GrpcControl, sut=[f"grpc://127.0.0.1:{port}"]).suts
        assert (sut.has_config, sut.inputs[0].optional) == (False, False)


# ---------------------------------------------------------------- a virtual host
@pytest.mark.parametrize("name", ["host", "Host", ":authority"])
def test_control_calls_carry_the_virtual_host(name: str) -> None:
    seen: set[str] = set()

    def reply(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        seen.add(headers["Host"])
        return listing("m")

    with http_server(reply) as port:
        sut = [f"openai://127.0.0.1:{port}/v1"]
        described(OpenAiControl, sut=sut, header=[f"{name}=llama.example.com"])
    assert seen == {"llama.example.com"}


# ---------------------------------------------------------------- models that are not listed
def test_a_model_that_is_served_and_not_listed_is_a_note() -> None:
    def reply(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        return listing("other") if method == "GET" else (200, {}, b"{}")

    with http_server(reply) as port:
        answers = described(OpenAiControl, sut=[f"openai://127.0.0.1:{port}/v1"])
    assert answers.lacking == [
        f"'m' in the list of models at openai://127.0.0.1:{port}/v1, which lists other"
    ]


def test_a_model_that_is_not_served_is_refused_with_the_list() -> None:
    def reply(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        return listing("other") if method == "GET" else NOT_FOUND

    with http_server(reply) as port:
        said = refusal(OpenAiControl, sut=[f"openai://127.0.0.1:{port}/v1"])
    assert "does not serve 'm'" in said
    assert "it lists other" in said


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_list_that_cannot_be_had_is_a_note(status: int) -> None:
    def reply(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        return (status, {}, b"") if method == "GET" else (200, {}, b"{}")

    with http_server(reply) as port:
        answers = described(OpenAiControl, sut=[f"openai://127.0.0.1:{port}/v1"])
    assert answers.lacking


# ---------------------------------------------------------------- addresses that are not the one
def test_an_openai_server_named_as_http_is_told_its_address() -> None:
    def reply(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        return listing("m") if path == "/v1/models" else NOT_FOUND

    with http_server(reply) as port:
        said = refusal(KserveHttpControl, sut=[f"http://127.0.0.1:{port}/v1"])
        assert f"write openai://127.0.0.1:{port}/v1" in said
        said = refusal(GrpcControl, sut=[f"grpc://127.0.0.1:{port}"], connect_timeout_ms=300)
        assert f"write openai://127.0.0.1:{port}/v1" in said


@pytest.mark.parametrize("scheme", ["http", "openai"])
def test_a_grpc_port_named_as_http_is_told_its_address(scheme: str) -> None:
    control = {"http": KserveHttpControl, "openai": OpenAiControl}[scheme]
    with foreign_kserve() as (port, _):
        said = refusal(control, sut=[f"{scheme}://127.0.0.1:{port}"])
    assert f"write grpc://127.0.0.1:{port}" in said
    assert said.isprintable()


def test_a_redirect_is_told_as_an_address() -> None:
    def reply(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        return 308, {"Location": f"https://other.example{path}"}, b""

    with http_server(reply) as port:
        said = refusal(OpenAiControl, sut=[f"openai://127.0.0.1:{port}/v1"])
    assert "write openais://other.example:443/v1" in said


# ---------------------------------------------------------------- certificates
def test_certificates_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.issue("sut")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with foreign_kserve(credentials=credentials) as (port, _):
        trusted = {"tls_ca": str(authority.certificate), "connect_timeout_ms": 500}
        wrong = refusal(GrpcControl, sut=[f"grpcs://localhost:{port}"], **trusted)
        assert "its certificate names 127.0.0.1, not localhost" in wrong
        untrusted = refusal(GrpcControl, sut=[f"grpcs://127.0.0.1:{port}"], connect_timeout_ms=500)
        assert "is not trusted" in untrusted
        assert "--tls-ca" in untrusted
        plain = refusal(GrpcControl, sut=[f"grpc://127.0.0.1:{port}"], connect_timeout_ms=500)
        assert f"write grpcs://127.0.0.1:{port}" in plain
        described(
            GrpcControl,
            sut=[f"grpcs://127.0.0.1:{port}"],
            header=["host=llama.example.com"],
            tls_ca=str(authority.certificate),
        )
    with foreign_kserve() as (port, _):
        said = refusal(GrpcControl, sut=[f"grpcs://127.0.0.1:{port}"], connect_timeout_ms=500)
        assert f"it speaks no TLS; write grpc://127.0.0.1:{port}" in said
