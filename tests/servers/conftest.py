"""Servers of other projects, each in its own environment; skipped by name where it is not there."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "product"))

READY_S = 120.0
END_S = 20.0
LLAMA_SLOTS = 4


@pytest.fixture(scope="session")
def llama_target() -> Iterator[str]:
    """``openai://HOST:PORT/v1`` of a llama.cpp server with a real small language model."""
    environment = os.environ.get("LOADGEN_TEST_LLAMA", "")
    python = Path(environment) / "bin" / "python"
    if not environment or not python.exists():
        pytest.skip("no llama.cpp environment (make test-servers makes it where it can)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("llama_server.py")
    process = subprocess.Popen(
        [str(python), str(script), str(port), str(LLAMA_SLOTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        await_ready(process)
        yield f"openai://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline and process.poll() is None:
            if selector.select(1.0) and process.stdout.readline().startswith("ready"):
                return
    pytest.fail(f"the server did not become ready in {READY_S:g} s")
