"""Starts the real ``sut-server`` as a process, waits for its ready line, ends it by its id."""

from __future__ import annotations

import contextlib
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

READY_S = 60.0
"""A loaded machine imports ONNX Runtime and builds a model in some seconds."""
END_S = 20.0


@dataclass
class SutProcess:
    """A running server: where it listens, and its process."""

    process: subprocess.Popen[str]
    host_port: str
    ready_line: str = ""

    @property
    def port(self) -> int:
        return int(self.host_port.rpartition(":")[2])

    def end(self) -> tuple[int, str]:
        """SIGTERM and wait; exit code and what it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, said = self.process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, said = self.process.communicate()
        return self.process.returncode, said


@contextlib.contextmanager
def sut_server(*flags: str, cwd: Path | None = None) -> Iterator[SutProcess]:
    """``sut-server FLAGS --port 0`` until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sut_server", *flags, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    server = SutProcess(process, "")
    try:
        server.ready_line = _ready_line(process)
        server.host_port = server.ready_line.split()[-1]
        yield server
    finally:
        server.end()


def _ready_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(deadline - time.monotonic())
    line = process.stdout.readline() if ready else ""
    found = re.fullmatch(r"sut-server: .+ ready on (\S+)\n", line)
    if found is None:
        process.kill()
        _, said = process.communicate()
        raise AssertionError(f"sut-server did not become ready: {line!r} {said}")
    return line


def next_line(server: SutProcess, pattern: str) -> str:
    """The first group of the server's next line on stdout."""
    assert server.process.stdout is not None
    line = server.process.stdout.readline()
    found = re.fullmatch(pattern, line)
    assert found is not None, line
    return found[1]
