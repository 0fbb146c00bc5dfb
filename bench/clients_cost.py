"""Clients whose rate and CPU time a query are measured together: ours, perf_analyzer, h2load."""

from __future__ import annotations

import functools
import json
import re
import statistics
import tempfile
from pathlib import Path

import clients
from cpu_time import Watched, watched
from harness import Measured
from processes import CLIENT_CORE, COMMAND_S, RowFailed, python
from requests_file import request_file

SHORT_S = 0.1
"""A run of nearly no length: what starting and ending costs."""
SETTLE_S = 1.0


def product(address: str, seconds: float, model: str, *flags: str) -> Measured:
    """``loadgen run`` as a user starts it: service, collector and one worker on one core.

    What a run of no length costs is taken off each process's time. Raises RowFailed where a query
    failed.
    """
    whole, summary = _run(address, seconds, model, flags)
    start_s, start_count = _start_cost(address, model, flags)
    queries = summary["counts"]["queries"]["completed"] - start_count
    cpu_us = {
        role: max(0.0, used - start_s.get(role, 0.0)) / queries * 1e6
        for role, used in whole.cpu_s.items()
    }
    return Measured(float(summary["completed_qps"]), cpu_us)


@functools.cache
def _start_cost(address: str, model: str, flags: tuple[str, ...]) -> tuple[dict[str, float], float]:
    runs = [_run(address, SHORT_S, model, flags) for _ in range(3)]
    roles = {role for run, _ in runs for role in run.cpu_s}
    cost = {role: statistics.median(run.cpu_s.get(role, 0.0) for run, _ in runs) for role in roles}
    count = statistics.median(said["counts"]["queries"]["completed"] for _, said in runs)
    return cost, count


def _run(address: str, seconds: float, model: str, flags: tuple[str, ...]) -> tuple[Watched, dict]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        argv = python(
            "-m", "loadgen_service", "run", "--sut", address, "--model", model,
            "--min-duration-ms", str(round(seconds * 1000)), "--min-query-count", "1",
            "--out", str(out), *flags,
        )  # fmt: skip
        said = watched(argv, CLIENT_CORE, COMMAND_S, allowed=(0, 1))
        summary = json.loads((out / "summary.json").read_text())
    if summary["counts"]["queries"]["failed"] or not summary["completed_qps"]:
        raise RowFailed(f"loadgen run failed queries: {summary['invalid_reason']}")
    return said, summary


def closed(address: str, outstanding: int, seconds: float, model: str, *flags: str) -> Measured:
    """A closed loop with so many outstanding; ``address`` is HOST:PORT."""
    concurrency = ("--scenario", "concurrency", "--concurrency", str(outstanding))
    return product(f"grpc://{address}", seconds, model, *concurrency, *flags)


def poisson(address: str, rate_qps: float, seconds: float, model: str) -> Measured:
    """A Server run at this rate, its latency limit far away."""
    return product(
        f"grpc://{address}", seconds, model, "--scenario", "server",
        "--target-qps", str(rate_qps), "--target-latency-ms", "1000",
    )  # fmt: skip


def perf_analyzer(address: str, seconds: float, model: str, *flags: str) -> Measured:
    """Triton's C++ client; CPU time a query from the middle of its run."""
    said = watched(
        [clients.perf_analyzer_path(), "-v", "-m", model, "-u", address, "-i", "grpc", "--async",
         "-p", str(round(seconds * 1000 / 3)), "-s", "90", "-r", "3", *flags],
        CLIENT_CORE,
        60.0,
        env=clients.perf_analyzer_env(),
        allowed=clients.ANALYZER_EXITS,
    )  # fmt: skip
    found = re.findall(r"throughput: ([\d.]+) infer/sec", said.said, re.IGNORECASE)
    if not found:
        raise RowFailed(f"perf_analyzer: {said.said[-300:]}")
    rate_qps = statistics.median(map(float, found))
    share = said.rate_between(SETTLE_S, SETTLE_S / 2)
    return Measured(rate_qps, {"perf_analyzer": share / rate_qps * 1e6})


def h2load(address: str, outstanding: int, seconds: float, connections: int = 1) -> Measured:
    """nghttp2's C load generator with the same request bytes; ``outstanding`` over all."""
    with request_file() as path:
        said = watched(
            ["h2load", "-D", str(round(seconds)), "-c", str(connections),
             "-m", str(outstanding // connections), "-t", "1", "-d", path,
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             f"http://{address}{clients.SERVICE}ModelInfer"],
            CLIENT_CORE,
            seconds + 30.0,
        )  # fmt: skip
    rate_qps = clients.h2load_rate(said.said)
    return Measured(rate_qps, {"h2load": said.whole_s / (rate_qps * seconds) * 1e6})
