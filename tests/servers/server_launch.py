"""Starts servers of other projects in environments of their own, and ends them by process group."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

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


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


@contextlib.contextmanager
def launched(
    command: Sequence[str | Path],
    at: Mapping[str, str],
    ready_url: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
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
        _wait_until_ready(process, ready_url, log)
        yield Served(process, at)
    finally:
        _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise AssertionError(f"{process.args[0]} did not become ready:\n{tail}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely first; children that a server leaves behind go with its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_S)
