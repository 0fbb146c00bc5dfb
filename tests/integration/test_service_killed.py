"""Real processes: a service killed in the middle of a run and started again ends it whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sut_process import sut_server

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


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.close()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_a_service_killed_in_the_warm_up_ends_every_series(
    tmp_path: Path, processes: Processes
) -> None:
    results, port = tmp_path / "results", str(free_port())
    serving = ("serve", "--port", port, "--results", str(results))
    with sut_server("--model", "synthetic") as sut:
        service, said = processes.start(*serving)
        wait_for(said, "ready on")
        for _ in range(2):
            processes.start("worker", "--coordinator", f"127.0.0.1:{port}")
        asker, asked = processes.start(
            *("run", "--service", f"127.0.0.1:{port}", "--sut", f"grpc://127.0.0.1:{sut.port}"),
            *("--model", "synthetic", "--scenario", "server", "--target-qps", "100"),
            *("--min-duration-ms", "2000", "--warmup-duration-ms", "3000", "--workers", "2"),
            *("--issue-delay-budget-ms", "2000", "--target-latency-ms", "2000"),
            *("--target-latency-percentile", "90"),
        )
        wait_for(asked, "warmup (1 of 2): issuing")
        service.kill()
        service.wait(10)
        _, said = processes.start(*serving)
        wait_for(said, "going on with it, 2 workers expected")
        code = asker.wait(END_S)
    (directory,) = results.iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert [one["name"] for one in summary["series"]] == ["warmup", "performance"]
    for series in summary["series"]:
        counts = series["counts"]["queries"]
        assert counts["completed"] == counts["planned"] > 0
    assert code == 0, asked.read_text()
    assert summary["valid"] is True
    assert any("the service died" in note for note in summary["notes"])
    assert summary["series"][1]["to_sut_ns"]["count"] > 0
