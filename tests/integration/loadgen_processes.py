"""Programs of one test: services, workers and users, each with a file of what it says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

END_S = 60.0


class Processes:
    """Programs of this test; each says what it says into a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._env = {**os.environ, "LOADGEN_CACHE": str(folder / "cache")}

    def start(self, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
        said = self._folder / f"{words[0]}-{len(self._started)}.log"
        with open(said, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "loadgen_service", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._env,
            )
        self._started.append(process)
        return process, said

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait(10)


def wait_for(said: Path, text: str) -> None:
    deadline = time.monotonic() + END_S
    while text not in said.read_text(errors="replace"):
        assert time.monotonic() < deadline, f"never said {text!r}: {said.read_text()}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
