"""Large tensors through the real ``sut-server``: each byte arrives, whoever sends it."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_wire.client import DONE, ClientConnection
from grpc_wire.headers import request_headers
from grpc_wire.messages import frame_message
from sut_process import SutProcess, sut_server
from tls_authority import Authority
from tritonclient.grpc import service_pb2, service_pb2_grpc

DEADLINE_S = 30.0
PATH = "/inference.GRPCInferenceService/ModelInfer"
ELEMENTS = (150_528, 3, 20_000, 150_528, 600_000, 150_528, 70_000, 1_000_000)
"""Of FP32: 12 bytes to 4 MB, some of the same length, which may share a batch."""

MODEL = """
import zlib
import numpy as np
class Digest:
    name = 'digest'
    inputs = [('x', 'FP32', [-1, -1])]
    outputs = [('crc', 'INT64', [-1, 1]), ('lies', 'BOOL', [-1, 1])]
    def load(self): pass
    def infer(self, batch):
        x = batch['x']
        crcs = [[zlib.crc32(row.tobytes())] for row in x]
        # what was joined is an array of its own, and may be written to
        lies = np.full((len(x), 1), len(x) > 1 and not x.flags.writeable)
        return {'crc': np.array(crcs, dtype='<i8'), 'lies': lies}
"""


def requests() -> list[service_pb2.ModelInferRequest]:
    """Of random bytes, the same in each run."""
    source = random.Random(4)
    made = []
    for number, elements in enumerate(ELEMENTS):
        request = service_pb2.ModelInferRequest(model_name="digest", id=str(number))
        request.inputs.add(name="x", datatype="FP32", shape=[1, elements])
        request.raw_input_contents.append(source.randbytes(4 * elements))
        made.append(request)
    return made


def expected(asked: list[service_pb2.ModelInferRequest]) -> dict[str, int]:
    return {request.id: zlib.crc32(request.raw_input_contents[0]) for request in asked}


def digests(answers: list[service_pb2.ModelInferResponse]) -> dict[str, int]:
    return {
        answer.id: int(np.frombuffer(answer.raw_output_contents[0], dtype="<i8")[0])
        for answer in answers
    }


@contextlib.contextmanager
def digest_server(folder: Path, *flags: str) -> Iterator[SutProcess]:
    (folder / "digesting.py").write_text(MODEL)
    batches = ("--max-batch", "4", "--max-queue-delay-us", "5000")
    with sut_server("--model", "python:digesting:Digest", *batches, *flags, cwd=folder) as server:
        yield server


def by_grpcio(channel: grpc.Channel, compression: grpc.Compression | None = None) -> dict[str, int]:
    """All at once over one connection, three times."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    asked = requests() * 3
    with ThreadPoolExecutor(len(asked)) as threads:
        answers = list(
            threads.map(
                lambda one: stub.ModelInfer(one, timeout=DEADLINE_S, compression=compression), asked
            )
        )
    assert len(answers) == len(asked)
    return digests(answers)


def received(link: socket.socket) -> bytes:
    data = link.recv(1 << 16)
    assert data, "the server closed the connection"
    return data


def asking(link: socket.socket, asked: list[service_pb2.ModelInferRequest]) -> ClientConnection:
    """A client half that has opened a call for each, and written nothing of them."""
    link.settimeout(DEADLINE_S)
    wire = ClientConnection()
    wire.start()
    link.sendall(b"".join(wire.take_output()))
    while not wire.room:
        wire.receive(received(link))
    headers = request_headers(path=PATH, authority="localhost")
    for key, request in enumerate(asked):
        assert wire.call(key, headers, frame_message(request.SerializeToString()))
    return wire


def answers_by_our_wire(
    link: socket.socket, asked: list[service_pb2.ModelInferRequest]
) -> list[service_pb2.ModelInferResponse]:
    """All at once over one connection; tensors up to 1 MiB in one frame each."""
    wire = asking(link, asked)
    answers = []
    while len(answers) < len(asked):
        link.sendall(b"".join(wire.take_output()))
        events = wire.receive(received(link))
        answers += [event for event in events if event[0] == DONE]
    assert [code for _, _, code, _, _ in answers] == [0] * len(answers)
    return [service_pb2.ModelInferResponse.FromString(event[3]) for event in answers]


def by_our_wire(link: socket.socket) -> dict[str, int]:
    return digests(answers_by_our_wire(link, requests()))


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_each_byte_of_large_requests_arrives(
    tmp_path: Path, compression: grpc.Compression | None
) -> None:
    flags = () if compression is None else ("--compression", "gzip")
    with digest_server(tmp_path, *flags) as server:
        with grpc.insecure_channel(server.host_port) as channel:
            assert by_grpcio(channel, compression) == expected(requests())
        with socket.create_connection(("127.0.0.1", server.port)) as link:
            assert by_our_wire(link) == expected(requests())


def test_each_byte_of_large_requests_arrives_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.issue("server")
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with digest_server(tmp_path, *tls) as server:
        credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        with grpc.secure_channel(server.host_port, credentials) as channel:
            assert by_grpcio(channel) == expected(requests())
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as link,
        ):
            assert by_our_wire(link) == expected(requests())


def test_a_caller_that_leaves_within_a_large_request_harms_nobody(tmp_path: Path) -> None:
    with digest_server(tmp_path) as server:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as link:
                wire = asking(link, requests()[:1])
                link.sendall(b"".join(wire.take_output())[:400_000])
        with grpc.insecure_channel(server.host_port) as channel:
            assert by_grpcio(channel) == expected(requests())
        code, said = server.end()
        assert (code, said) == (0, "")


def alike(seed: int, count: int = 16) -> list[service_pb2.ModelInferRequest]:
    """Requests that differ in their id and their bytes alone."""
    source = random.Random(seed)
    made = []
    for number in range(count):
        request = service_pb2.ModelInferRequest(model_name="digest", id=f"{seed}.{number}")
        request.inputs.add(name="x", datatype="FP32", shape=[1, ELEMENTS[0]])
        request.raw_input_contents.append(source.randbytes(4 * ELEMENTS[0]))
        made.append(request)
    return made


def test_callers_at_the_same_time_get_the_answers_to_their_own_bytes(tmp_path: Path) -> None:
    with digest_server(tmp_path) as server:

        def ask(seed: int) -> bool:
            asked = alike(seed)
            with socket.create_connection(("127.0.0.1", server.port)) as link:
                return digests(answers_by_our_wire(link, asked)) == expected(asked)

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(12)))
