"""Starts servers of other projects in environments of their own, and ends them by process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from triton_server import answers, command_of, environment_of, free_ports

ROOT = Path(__file__).parents[2]
READY_S = 120.0
END_S = 15.0


@dataclass(frozen=True)
class Served:
    """A server that is up: ``HOST:PORT`` by scheme, such as ``grpc`` and ``http``."""

    process: subprocess.Popen[bytes]
    at: Mapping[str, str]

    def kill(self) -> None:
        """End it as the kernel would for want of memory: all its processes, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(END_S)


def python_of(name: str) -> Path:
    """Python of the environment ``.venv-NAME``; skips, by name, where it was not made."""
    given = os.environ.get(f"LOADGEN_TEST_{name.upper()}")
    path = Path(given or ROOT / f".venv-{name}").resolve() / "bin" / "python"
    if not path.exists():
        pytest.skip(f"no {name} environment (make test-servers makes it where it can)")
    return path


@contextlib.contextmanager
def launched(
    command: Sequence[str | Path],
    at: Mapping[str, str],
    ready_url: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    ready_s: float = READY_S,
) -> Iterator[Served]:
    """A process group that answers ``ready_url`` with 200, until the block ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, ready_url, log, ready_s)
        yield Served(process, at)
    finally:
        _end(process)


@contextlib.contextmanager
def tritonserver(repository: Path, model: str, log: Path) -> Iterator[Served]:
    """The real Triton with the models of ``repository``, until the block ends."""
    environment = python_of("triton").parents[1]
    http, grpc, metrics = free_ports(3)
    command = command_of(environment, repository, http, grpc, metrics)
    at = {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}"}
    ready_url = f"http://127.0.0.1:{http}/v2/models/{model}/ready"
    with launched(command, at, ready_url, log, environment_of(environment)) as served:
        yield served


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, log: Path, ready_s: float
) -> None:
    deadline = time.monotonic() + ready_s
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise AssertionError(f"{process.args[0]} did not become ready:\n{tail}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely first; children that a server leaves behind go with its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_S)
