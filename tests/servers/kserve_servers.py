"""KServe v2 servers with the same models: ``digits``, and ``digits-slow`` (SLOW_S a request)."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from server_launch import Served, launched, python_of, tritonserver
from triton_server import free_ports

HERE = Path(__file__).parent
SLOW_S = 0.05
MODELS = {"digits": 0.0, "digits-slow": SLOW_S}


def onnx_digits() -> Path:
    """The model file: 64 pixels in, ten logits out."""
    from sut_server.models.zoo import onnx_path

    return Path(onnx_path("digits"))


@contextlib.contextmanager
def own(folder: Path) -> Iterator[Served]:
    """Our sut-server; the slow model is a class."""
    grpc, http = free_ports(2)
    command = [
        *(sys.executable, "-m", "sut_server", "--model", "digits"),
        *("--model", "python:slow_digits:SlowDigits", "--max-batch", "1"),
        *("--port", str(grpc), "--http-port", str(http)),
    ]
    environment = {"PYTHONPATH": str(HERE), "SLOW_S": str(SLOW_S)}
    with launched(command, *_at(grpc, http), folder / "own.log", environment) as served:
        yield served


@contextlib.contextmanager
def triton(folder: Path) -> Iterator[Served]:
    """The real Triton with its Python backend."""
    repository = _triton_repository(folder / "repository")
    with tritonserver(repository, "digits", folder / "triton.log") as served:
        yield served


def _triton_repository(folder: Path) -> Path:
    for name, slow_s in MODELS.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        shutil.copy(HERE / "triton_digits.py", version / "model.py")
        shutil.copy(onnx_digits(), version / "model.onnx")
        (folder / name / "config.pbtxt").write_text(
            f'name: "{name}"\nbackend: "python"\nmax_batch_size: {1 if slow_s else 8}\n'
            'input [ { name: "input" data_type: TYPE_FP32 dims: [ 64 ] } ]\n'
            'output [ { name: "logits" data_type: TYPE_FP32 dims: [ 10 ] } ]\n'
            f'parameters [ {{ key: "slow_s" value: {{ string_value: "{slow_s}" }} }} ]\n'
            "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
        )
    return folder


@contextlib.contextmanager
def mlserver(folder: Path) -> Iterator[Served]:
    """MLServer with a runtime of ours."""
    python = python_of("mlserver")
    grpc, http, metrics = free_ports(3)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "debug": False}
    settings |= {"metrics_port": metrics, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    for name, slow_s in MODELS.items():
        (folder / name).mkdir()
        described = {
            "name": name,
            "implementation": "digits_runtime.Digits",
            "parameters": {"uri": str(onnx_digits()), "extra": {"slow_s": slow_s}},
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 64]}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
        }
        (folder / name / "model-settings.json").write_text(json.dumps(described))
    command = [python.with_name("mlserver"), "start", folder]
    environment = {"PYTHONPATH": str(HERE / "mlserver")}
    with launched(command, *_at(grpc, http), folder / "mlserver.log", environment) as served:
        yield served


@contextlib.contextmanager
def kserve(folder: Path) -> Iterator[Served]:
    """KServe's Python model server."""
    grpc, http = free_ports(2)
    script = HERE / "kserve_server.py"
    command = [python_of("kserve"), script, onnx_digits(), str(http), str(grpc), str(SLOW_S)]
    with launched(command, *_at(grpc, http), folder / "kserve.log") as served:
        yield served


def _at(grpc: int, http: int) -> tuple[dict[str, str], str]:
    at = {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}"}
    return at, f"http://{at['http']}/v2/models/digits/ready"


Launcher = Callable[[Path], AbstractContextManager[Served]]

SERVERS: dict[str, Launcher] = {
    "own": own,
    "triton": triton,
    "mlserver": mlserver,
    "kserve": kserve,
}
