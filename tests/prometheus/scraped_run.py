"""One real run, scraped by a real Prometheus from its first second to its last figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_process import Prometheus, prometheus

START_S = 60.0
END_S = 90.0


@dataclass
class Scraped:
    """A finished run and the Prometheus that watched it."""

    server: Prometheus
    out: Path
    said: str
    began_s: float
    ended_s: float

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "summary.json").read_text())


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(END_S)


def _said(process: subprocess.Popen[str], pattern: str) -> str:
    """The first line of stderr that fits, its group 1."""
    assert process.stderr is not None
    deadline = threading.Timer(START_S, process.kill)
    deadline.start()
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found[1]
    finally:
        deadline.cancel()
    raise AssertionError(f"{pattern} was not said within {START_S:g} s: {lines}")


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _suts(stack: ExitStack) -> tuple[list[str], list[str]]:
    """Two servers of known behaviour, one slower; their addresses and their metrics' addresses."""
    suts, metrics = [], []
    for number, spread in enumerate(("0.4", "0.8")):
        process = stack.enter_context(
            _ended(
                _start(
                    *("sut_server", "--model", "synthetic", "--port", "0", "--metrics-port", "0"),
                    *("--service-time", f"lognormal:4:{spread}", "--seed", str(number)),
                )
            )
        )
        metrics.append("127.0.0.1:" + _said(process, r"metrics on port (\d+)"))
        assert process.stdout is not None
        suts.append("grpc://" + process.stdout.readline().rsplit(" ", 1)[-1].strip())
    return suts, metrics


def _run_flags(suts: list[str], out: Path) -> list[str]:
    return [
        *("loadgen_service", "run", "--sut", ",".join(suts), "--model", "synthetic"),
        *("--scenario", "server", "--target-qps", "150", "--target-latency-ms", "500"),
        *("--min-duration-ms", "8000", "--warmup-duration-ms", "1000", "--workers", "2"),
        *("--issue-delay-budget-ms", "2000", "--metrics-port", "0"),
        *("--metrics-linger-ms", "30000", "--out", str(out)),
    ]


@contextmanager
def scraped_run(folder: Path) -> Iterator[Scraped]:
    """Make the run below ``folder``; the Prometheus that watched it goes on in the block."""
    with ExitStack() as stack:
        server = stack.enter_context(prometheus(folder))
        suts, metrics = _suts(stack)
        server.scrape("sut-server", *metrics)
        began_s = time.time()
        run = stack.enter_context(_ended(_start(*_run_flags(suts, folder / "out"))))
        server.scrape("loadgen", _said(run, r"metrics on http://(\S+)/metrics"))
        _, said = run.communicate(timeout=END_S)
        assert run.returncode in (0, 1), said
        yield Scraped(server, folder / "out", said, began_s, time.time())
