"""Callers and models that mean ill, at the real ``sut-server``; an honest caller beside each."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sut_process import SutProcess, next_line, sut_server
from tritonclient.grpc import service_pb2, service_pb2_grpc

DEADLINE_S = 60.0
MIB = 1 << 20
INFER = "/inference.GRPCInferenceService/ModelInfer"

MODEL = """
import os, sys, threading, time

class Model:
    name = "mine"
    inputs = [("x", "FP32", (-1, 1))]
    outputs = [("y", "FP32", (-1, 1))]
    def load(self):
        {load}
    def infer(self, batch):
        if batch["x"][0, 0] > 0:
            {infer}
        return {{"y": batch["x"]}}

class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")
"""


def model_folder(folder: Path, infer: str = "pass", load: str = "pass") -> Path:
    (folder / "mine.py").write_text(MODEL.format(infer=infer, load=load))
    return folder


def asking(value: float, model: str = "mine", name: str = "x") -> service_pb2.ModelInferRequest:
    import struct

    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<f", value))
    return request


def resident_mib(server: SutProcess) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) // 1024


@contextlib.contextmanager
def stub(server: SutProcess) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.host_port, options) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def is_serving(server: SutProcess) -> bool:
    with stub(server) as honest:
        request = service_pb2.ServerLiveRequest()
        return bool(honest.ServerLive(request, timeout=DEADLINE_S).live)


def raw_call(server: SutProcess, message: bytes) -> grpc.RpcError:
    """What a ModelInfer of these bytes is refused with."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.host_port, options) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(INFER)(message, timeout=DEADLINE_S)
        return raised.value


def field(number: int, content: bytes) -> bytes:
    size, encoded = len(content), bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*encoded, size]) + content


@pytest.fixture(scope="module")
def synthetic() -> Iterator[SutProcess]:
    with sut_server("--model", "synthetic", "--compression", "gzip", "--memory-mib", "64") as sut:
        yield sut


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x2a\x00" * (2 * MIB), "fields"),  # two million empty inputs
        (field(5, b"\x1a\x00" * (2 * MIB)), "fields"),  # one input of as many empty shapes
        (field(5, field(3, b"\x01" * (4 * MIB))), "beside the contents"),  # a shape of 4 million
        (field(5, field(5, field(4, b"\x01" * (20 * MIB)))), "typed contents"),
        (field(1, b"m" * (4 * MIB)), "beside the contents"),
    ],
    ids=["inputs", "shapes", "lengths", "numbers", "name"],
)
def test_few_bytes_do_not_become_much_memory(
    synthetic: SutProcess, message: bytes, text: str
) -> None:
    before = resident_mib(synthetic)
    error = raw_call(synthetic, message)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert text in error.details()
    assert resident_mib(synthetic) - before < 64 + 3 * len(message) // MIB
    assert is_serving(synthetic)


def test_gzip_in_many_members_is_refused() -> None:
    member = zlib.compressobj(1, zlib.DEFLATED, 31)
    empty = member.compress(b"") + member.flush()
    body = empty * 200_000
    with sut_server("--model", "null", "--compression", "gzip", "--http-port", "0") as server:
        http = next_line(server, r"sut-server: HTTP ready on (\S+)\n")
        host, _, port = http.rpartition(":")
        with socket.create_connection((host, int(port)), DEADLINE_S) as peer:
            head = "POST /v2/models/null/infer HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n"
            peer.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = peer.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"gzip members" in answer
        assert is_serving(server)


def test_waiting_requests_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    model_folder(tmp_path, "threading.Event().wait(600)")
    flags = ("--model", "python:mine:Model", "--memory-mib", "16", "--drain-ms", "0")
    with sut_server(*flags, "--max-batch", "1", cwd=tmp_path) as server, stub(server) as caller:
        running = caller.ModelInfer.future(asking(1), timeout=DEADLINE_S)
        assert is_serving(server)
        large = asking(0)
        large.parameters["filler"].string_param = "f" * 60_000  # every byte counts
        held = [caller.ModelInfer.future(large, timeout=DEADLINE_S) for _ in range(400)]
        ended = threading.Semaphore(0)
        for one in held:
            one.add_done_callback(lambda _: ended.release())
        for _ in range(100):  # 280 fit
            assert ended.acquire(timeout=DEADLINE_S)
        refused = [one for one in held if one.done()]
        assert {one.code() for one in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert "--memory-mib" in refused[0].details()
        before = resident_mib(server)
        for one in [running, *held]:
            one.cancel()
        assert is_serving(server)
        assert resident_mib(server) <= before + 8


def test_those_who_left_make_room_in_the_queue(tmp_path: Path) -> None:
    model_folder(tmp_path, "time.sleep(3)")
    flags = ("--model", "python:mine:Model", "--max-batch", "1", "--max-waiting", "50")
    with sut_server(*flags, cwd=tmp_path) as server, stub(server) as caller:
        running = caller.ModelInfer.future(asking(1), timeout=DEADLINE_S)
        gone = [caller.ModelInfer.future(asking(1), timeout=DEADLINE_S) for _ in range(50)]
        assert is_serving(server)  # all have come
        for one in gone:
            one.cancel()
        honest = caller.ModelInfer(asking(0), timeout=DEADLINE_S)
        assert honest.outputs[0].name == "y"
        running.result(DEADLINE_S)


@pytest.mark.parametrize("where", ["infer", "load"])
def test_a_model_that_never_returns_does_not_hold_up_the_end(tmp_path: Path, where: str) -> None:
    hang = "threading.Event().wait(600)"
    model_folder(tmp_path, **{where: hang})
    command = [sys.executable, "-m", "sut_server", "--model", "python:mine:Model", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--drain-ms", "200"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    if where == "load":
        assert process.stderr.readline() == "sut-server: loading python:mine:Model ...\n"
    else:
        server = SutProcess(process, process.stdout.readline().split()[-1])
        with stub(server) as caller:
            hanging = caller.ModelInfer.future(asking(1), timeout=DEADLINE_S)
            assert is_serving(server)
            process.send_signal(signal.SIGTERM)
            assert hanging.exception(timeout=DEADLINE_S) is not None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    line = "ended by a signal before" if where == "load" else "model 'mine': has not returned"
    assert line in said
    assert "Traceback" not in said


def test_an_exception_without_a_text_ends_its_call_alone(tmp_path: Path) -> None:
    model_folder(tmp_path, "raise Odd")
    with sut_server("--model", "python:mine:Model", cwd=tmp_path) as server, stub(server) as caller:
        with pytest.raises(grpc.RpcError) as raised:
            caller.ModelInfer(asking(1), timeout=DEADLINE_S)
        assert raised.value.code() == grpc.StatusCode.INTERNAL
        assert "model 'mine' failed: Odd" in raised.value.details()
        assert caller.ModelInfer(asking(0), timeout=DEADLINE_S).outputs[0].name == "y"


def test_memory_that_its_owner_cuts_short_is_refused() -> None:
    path = Path(f"/dev/shm/loadgen_test_cut_{os.getpid()}")
    path.write_bytes(bytes(1 << 20))
    try:
        with (
            sut_server("--model", "synthetic", "--shared-memory") as server,
            stub(server) as caller,
        ):
            caller.SystemSharedMemoryRegister(
                service_pb2.SystemSharedMemoryRegisterRequest(
                    name="r", key=path.name, byte_size=1 << 20
                ),
                timeout=DEADLINE_S,
            )
            request = service_pb2.ModelInferRequest(model_name="synthetic")
            request.outputs.add(name="output")
            tensor = request.inputs.add(name="input", datatype="FP32", shape=[1, 16])
            for parameters, offset, size in (
                (tensor.parameters, 1 << 19, 64),
                (request.outputs[0].parameters, 1 << 18, 4),
            ):
                parameters["shared_memory_region"].string_param = "r"
                parameters["shared_memory_offset"].int64_param = offset
                parameters["shared_memory_byte_size"].int64_param = size
            assert caller.ModelInfer(request, timeout=DEADLINE_S).outputs[0].name == "output"
            os.truncate(path, 1 << 18)
            del request.outputs[:]
            with pytest.raises(grpc.RpcError, match="cut short"):
                caller.ModelInfer(request, timeout=DEADLINE_S)
            assert is_serving(server)
    finally:
        path.unlink()


def test_too_little_memory_is_one_line() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (500 * MIB, 500 * MIB))

    done = subprocess.Popen(
        [sys.executable, "-m", "sut_server", "--model", "digits", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit,
    )  # fmt: skip
    timer = threading.Timer(DEADLINE_S, done.kill)
    timer.start()
    assert done.stdout is not None
    ready = done.stdout.readline()
    done.terminate()
    _, said = done.communicate()
    timer.cancel()
    assert "Traceback" not in said
    assert ready.startswith("sut-server: digits ready") or said.startswith("sut-server: ")


def test_names_of_others_do_not_steer_the_terminal(tmp_path: Path) -> None:
    odd = "self.name = 'a\\x1b[2Jb'"
    model_folder(tmp_path, load=odd)
    with sut_server("--model", "python:mine:Model", cwd=tmp_path) as server:
        assert server.ready_line.startswith("sut-server: a\\x1b[2Jb ready on ")


def test_half_requests_and_dribbled_bodies_end_though_frames_are_whole() -> None:
    from hostile_peers import DATA, END_HEADERS, HEADERS, HELLO, block, frame

    with sut_server("--model", "synthetic", "--slow-limit-s", "1") as server:
        host, _, port = server.host_port.rpartition(":")
        with (
            socket.create_connection((host, int(port)), DEADLINE_S) as half,
            socket.create_connection((host, int(port)), DEADLINE_S) as dribbling,
            stub(server) as honest,
        ):
            for peer in (half, dribbling):
                peer.sendall(HELLO + frame(HEADERS, END_HEADERS, 1, block()))
            dribbling.sendall(frame(DATA, 0, 1, b"\0\0\0\xff\xff"))
            stopped = threading.Event()

            def drip() -> None:
                with contextlib.suppress(OSError):
                    while not stopped.wait(0.1):
                        dribbling.sendall(frame(DATA, 0, 1, b"x"))

            dripping = threading.Thread(target=drip)
            dripping.start()
            stream = honest.ModelStreamInfer(_slowly(stopped), timeout=DEADLINE_S)
            try:
                for peer in (half, dribbling):
                    peer.settimeout(DEADLINE_S)
                    with contextlib.suppress(ConnectionError):
                        while peer.recv(1 << 16):
                            pass
                assert next(stream).infer_response.model_name == "synthetic"  # it may rest
            finally:
                stopped.set()
                dripping.join()


def _slowly(stopped: threading.Event) -> Iterator[service_pb2.ModelInferRequest]:
    """A stream that is quiet for longer than a request may be."""
    request = service_pb2.ModelInferRequest(model_name="synthetic")
    request.inputs.add(name="input", datatype="FP32", shape=[1, 16])
    request.raw_input_contents.append(bytes(64))
    yield request
    stopped.wait(DEADLINE_S)


def test_who_reads_slowly_is_served_and_who_does_not_read_is_ended() -> None:
    flags = ("--model", "synthetic", "--output-elements", "4000000", "--slow-limit-s", "1")
    with sut_server(*flags, "--http-port", "0") as server:
        http = next_line(server, r"sut-server: HTTP ready on (\S+)\n")
        host, _, port = http.rpartition(":")
        body = (
            b'{"inputs":[{"name":"input","shape":[1,16],"datatype":"FP32","data":['
            + b",".join([b"0"] * 16)
            + b']}],"parameters":{"binary_data_output":true}}'
        )
        head = f"POST /v2/models/synthetic/infer HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}"
        request = head.encode() + b"\r\n\r\n" + body
        peers = []
        for _ in range(2):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            peer.connect((host, int(port)))
            peer.settimeout(DEADLINE_S)
            peer.sendall(request)
            peers.append(peer)
        reading, asleep = peers
        came, started = 0, time.monotonic()
        while came < 16_000_000:
            came += len(reading.recv(65_536))
            # spread over three times the limit
            time.sleep(max(0.0, started + 3 * came / 16_000_000 - time.monotonic()))
        assert came >= 16_000_000
        got = 0
        with contextlib.suppress(ConnectionError):
            while data := asleep.recv(1 << 20):
                got += len(data)
        assert got < 16_000_000
        for peer in peers:
            peer.close()
        assert is_serving(server)
