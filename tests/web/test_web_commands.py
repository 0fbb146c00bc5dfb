"""The ports of the commands: where they are said, what is refused, and the last scrape."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from sut_process import sut_server

COMMAND_S = 60.0


@pytest.fixture(scope="module")
def flags() -> Iterator[list[str]]:
    with sut_server("--model", "null") as sut:
        yield [
            *("run", "--sut", f"grpc://{sut.host_port}", "--model", "null", "--scenario", "server"),
            *("--target-qps", "300", "--min-duration-ms", "1000", "--target-latency-ms", "1000"),
            *("--issue-delay-budget-ms", "500"),
        ]


def loadgen(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadgen_service", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    deadline = threading.Timer(COMMAND_S, process.kill)
    deadline.start()
    try:
        return next(line for line in process.stderr if text in line)
    finally:
        deadline.cancel()


def test_the_end_waits_for_the_last_scrape_and_only_that_long(flags, tmp_path):
    run = loadgen(*flags, "--metrics-port", "0", "--out", str(tmp_path / "out"))
    url = re.search(r"metrics on (\S+)", line_with(run, "metrics on"))[1]
    line_with(run, "waiting up to 20 s for the last scrape")
    with urllib.request.urlopen(url, timeout=10) as reply:
        text = reply.read().decode()
    said, complaints = run.communicate(timeout=COMMAND_S)
    assert 'loadgen_run_state{state="done"} 1.0' in text
    assert "VALID" in said
    assert "nobody scraped" not in complaints
    assert run.returncode in (0, 1)


def test_ctrl_c_ends_the_waiting_and_keeps_the_verdict(flags, tmp_path):
    linger = ("--metrics-port", "0", "--metrics-linger-ms", "50000")
    run = loadgen(*flags, *linger, "--out", str(tmp_path / "out"))
    line_with(run, "waiting up to 50 s")
    run.send_signal(signal.SIGINT)
    said, complaints = run.communicate(timeout=COMMAND_S)
    assert "VALID" in said
    assert "nobody scraped the final figures" in complaints
    assert run.returncode in (0, 1)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--metrics-port", "0", "--service", "127.0.0.1:1"], "give it to `loadgen serve`"),
        (["--http-port", "70000"], "http_port 70000: give a port from 0 to 65535"),
    ],
)
def test_ports_that_cannot_be_are_the_users_mistake(flags, tmp_path, more, words):
    run = loadgen(*flags, *more, "--out", str(tmp_path / "out"))
    _, complaints = run.communicate(timeout=COMMAND_S)
    assert run.returncode == 2
    assert complaints.count("\n") == 1
    assert words in complaints


def test_a_service_beyond_loopback_refuses_open_ports(tmp_path):
    service = loadgen("serve", "--port", "0", "--http-port", "0", "--host", "0.0.0.0")
    _, complaints = service.communicate(timeout=COMMAND_S)
    assert service.returncode == 2
    assert "reachable from other hosts" in complaints
