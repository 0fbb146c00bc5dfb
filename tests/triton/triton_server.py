"""Starts and ends servers for the Triton tests; every wait has a deadline and keeps the log.

The tritonserver binary is the one that the package nvidia-pytriton ships, in an environment of its
own (``make triton``) that LOADGEN_TEST_TRITON names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent / "repository"
READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 15.0
ROOT = Path(__file__).parent.parent.parent


def environment_path() -> Path | None:
    """The environment with Triton, or None where it was not made."""
    path = Path(os.environ.get("LOADGEN_TEST_TRITON") or ROOT / ".venv-triton").resolve()
    return path if (path / "bin" / "python").exists() else None


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def make_repository(folder: Path, onnx_file: Path) -> Path:
    """A model repository with the ONNX file in its place."""
    repository = folder / "repository"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(onnx_file, repository / "efficientnet-lite0" / "1" / "model.onnx")
    return repository


@contextlib.contextmanager
def triton(
    environment: Path, repository: Path, log: Path, *flags: str
) -> Iterator[tuple[str, str, str]]:
    """A running tritonserver; gives HOST:PORT of its gRPC, HTTP and metrics endpoints."""
    http, grpc, metrics = free_ports(3)
    command = [*command_of(environment, repository, http, grpc, metrics), *flags]
    with _process(command, log, environment_of(environment)) as process:
        _wait_until(lambda: answers(f"http://127.0.0.1:{http}/v2/health/ready"), process, log)
        yield f"127.0.0.1:{grpc}", f"127.0.0.1:{http}", f"127.0.0.1:{metrics}"


def command_of(
    environment: Path, repository: Path, http: int, grpc: int, metrics: int
) -> list[str]:
    """The command line of a tritonserver on loopback."""
    home = _home(environment)
    return [
        str(home / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
    ]


def environment_of(environment: Path) -> dict[str, str]:
    """Variables of such a process: its backend starts python3 by name, which must be its own."""
    return {**os.environ, "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@contextlib.contextmanager
def embedded(model: str, log: Path) -> Iterator[str]:
    """A running sut-server; gives HOST:PORT."""
    command = [sys.executable, "-m", "sut_server", "--model", model, "--port", "0"]
    with _process(command, log, dict(os.environ)) as process:
        _wait_until(lambda: " ready on " in log.read_text(), process, log)
        line = next(text for text in log.read_text().splitlines() if " ready on " in text)
        yield line.rsplit(" ", 1)[-1]


def _home(environment: Path) -> Path:
    """Where the package keeps Triton; its Python stub is put into place."""
    home = next(environment.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    version = home.parts[-4]  # python3.11
    stub = home / "python_backend_stubs" / version.removeprefix("python")
    target = home / "backends" / "python" / "triton_python_backend_stub"
    if not target.exists():
        shutil.copy(stub / "triton_python_backend_stub", target)
    return home


@contextlib.contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_TIMEOUT_S)


def _wait_until(is_ready, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{process.args[0]} did not become ready:\n{tail}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether a GET gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
