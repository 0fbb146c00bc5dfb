"""A model in processes of its own, behind the real ``sut-server --isolate``."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from sut_process import SutProcess, sut_server
from tritonclient.grpc import service_pb2, service_pb2_grpc

DEADLINE_S = 60.0

MODEL = """
import ctypes, os, signal, threading
import numpy as np

class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class Model:
    name = "mine"
    inputs = [("x", "FP32", (-1, 1))]
    outputs = [("y", "FP32", (-1, 1)), ("pid", "INT64", (-1, 1))]

    def load(self):
        if os.path.exists("broken"):
            os._exit(7)
        print("loaded")

    def infer(self, batch):
        x = batch["x"]
        what = int(x[0, 0])
        if what == 1:
            ctypes.string_at(0)
        elif what == 2:
            os._exit(3)
        elif what == 3:
            raise Odd
        elif what == 4:
            threading.Event().wait(600)
        elif what == 5:
            np.ones(1 << 30)
        elif what == 6:
            return {"y": x, "pid": lambda: 0}
        elif what == 7:
            ctypes.PyDLL(None).sleep(600)  # nothing else runs in this process
        return {"y": 2 * x, "pid": np.full(x.shape, os.getpid(), "<i8")}
"""

FAULTS = {
    1: "its process is gone: it was ended by SIGSEGV",
    2: "its process is gone: it exited with code 3",
    3: "Odd (its text cannot be had)",
    4: "it has not answered within 2 s (--isolate-limit-s)",
    5: "MemoryError",
    6: "gave no array for its output 'pid'",
    7: "it has not answered within 2 s",
}


def asked(server: SutProcess, what: int) -> service_pb2.ModelInferResponse:
    request = service_pb2.ModelInferRequest(model_name="mine")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<f", what))
    with grpc.insecure_channel(server.host_port) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return stub.ModelInfer(request, timeout=DEADLINE_S)


def pid_of(answer: service_pb2.ModelInferResponse) -> int:
    (pid,) = np.frombuffer(answer.raw_output_contents[1], "<i8")
    return int(pid)


def write(folder: Path) -> tuple[str, ...]:
    (folder / "mine.py").write_text(MODEL)
    return ("--model", "python:mine:Model", "--isolate")


def test_whatever_a_model_does_its_call_alone_fails_and_the_next_is_served(tmp_path: Path) -> None:
    flags = (*write(tmp_path), "--isolate-limit-s", "2", "--isolate-memory-mib", "2000")
    with sut_server(*flags, cwd=tmp_path) as server:
        for what, text in FAULTS.items():
            with pytest.raises(grpc.RpcError) as raised:
                asked(server, what)
            assert raised.value.code() == grpc.StatusCode.INTERNAL
            details = raised.value.details()
            assert details.startswith("model 'mine' ")
            assert text in details
            assert "\n" not in details
            assert asked(server, 10).raw_output_contents[0] == struct.pack("<f", 20)
        assert pid_of(asked(server, 0)) != server.process.pid


def test_a_model_that_cannot_be_started_again_says_so_until_it_can(tmp_path: Path) -> None:
    with sut_server(*write(tmp_path), cwd=tmp_path) as server:
        (tmp_path / "broken").touch()
        with pytest.raises(grpc.RpcError, match="SIGSEGV"):
            asked(server, 1)
        with pytest.raises(
            grpc.RpcError, match=r"could not be started again: .*exited with code 7"
        ):
            asked(server, 0)
        (tmp_path / "broken").unlink()
        answers = [_status(server) for _ in range(3)]  # each failure starts it once more
        assert answers[-1] == "OK"


def _status(server: SutProcess) -> str:
    try:
        asked(server, 0)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_the_server_ends_with_its_models_though_they_hang(tmp_path: Path) -> None:
    with sut_server(*write(tmp_path), "--drain-ms", "200", cwd=tmp_path) as server:
        pid = pid_of(asked(server, 0))
        with grpc.insecure_channel(server.host_port) as channel:
            request = service_pb2.ModelInferRequest(model_name="mine")
            request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
            request.raw_input_contents.append(struct.pack("<f", 7))
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            hanging = stub.ModelInfer.future(request, timeout=DEADLINE_S)
            stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=DEADLINE_S)
            server.process.send_signal(signal.SIGTERM)
            assert hanging.exception(timeout=DEADLINE_S) is not None
        code, said = server.end()
        assert code == 0
        assert "Traceback" not in said
        assert not Path(f"/proc/{pid}").exists()


def test_a_killed_server_leaves_no_process_behind(tmp_path: Path) -> None:
    with sut_server(*write(tmp_path), cwd=tmp_path) as server:
        pid = pid_of(asked(server, 0))
        server.process.kill()
        server.process.wait(DEADLINE_S)
        status = f"/proc/{pid}/status"
        until_gone = f"while grep -qs 'State:.[^Z]' {status}; do sleep 0.05; done"
        subprocess.run(["sh", "-c", until_gone], timeout=DEADLINE_S, check=True)


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    flags = write(tmp_path)
    (tmp_path / "broken").touch()
    command = [sys.executable, "-m", "sut_server", *flags, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=DEADLINE_S)
    assert done.returncode == 2
    text = "--model python:mine:Model: it exited with code 7 while it was loaded"
    assert done.stderr.endswith(f"sut-server: {text}\n")
    assert "Traceback" not in done.stderr
