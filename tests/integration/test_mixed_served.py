"""Mixed traffic on a service that others run: its metrics, its files, and what its death leaves."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from loadgen_processes import END_S, Processes, free_port, wait_for
from prometheus_client.parser import text_string_to_metric_families
from sut_process import sut_server

STREAMS = {"fast": 100, "slow": 25}
"""Name and rate of each stream, queries a second."""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def sut_port() -> Iterator[int]:
    with sut_server("--model", "synthetic", "--service-time", "constant:2") as sut:
        yield sut.port


def write_config(folder: Path, sut_port: int, duration_ms: int) -> str:
    streams = [{"name": name, "target_qps": rate} for name, rate in STREAMS.items()]
    common = {
        "sut": f"grpc://127.0.0.1:{sut_port}",
        "model": "synthetic",
        "min_duration_ms": duration_ms,
        "total_sample_count": 32,
        "issue_delay_budget_ms": 10_000,
        "target_latency_ms": 2_000,
        "target_latency_percentile": 50,
    }
    path = folder / "mixed.yaml"
    path.write_text(yaml.safe_dump({**common, "streams": streams}))
    return str(path)


def begin(
    processes: Processes, port: int, results: Path, *words: str
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], Path]:
    """A service with two workers, and a user's run on it."""
    serving = ("serve", "--port", str(port), "--results", str(results))
    service, said = processes.start(*serving, *(("--http-port", "0") if "--out" in words else ()))
    wait_for(said, "ready on")
    for _ in STREAMS:
        processes.start("worker", "--coordinator", f"127.0.0.1:{port}")
    asker, asked = processes.start("run", "--service", f"127.0.0.1:{port}", *words)
    wait_for(asked, "slow: server performance: issuing")
    return service, asker, said


def scraped(said: Path) -> dict[tuple[str, str], float]:
    """Issued requests and runs' states, by (sample name, stream)."""
    wait_for(said, "/metrics")
    url = next(word for word in said.read_text().split() if word.endswith("/metrics"))
    with urllib.request.urlopen(url, timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, sample.labels["stream"]): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("stream") and sample.labels.get("state", "running") == "running"
    }


def wait_for_gauge(
    said: Path, asker: subprocess.Popen[bytes], stream: str, wanted: dict[str, float]
) -> None:
    """Scrape until the gauges of ``stream`` read as ``wanted``; the run must still go on."""
    while True:
        found = scraped(said)
        read = {name: found.get((name, stream)) for name in wanted}
        if read == wanted:
            return
        assert asker.poll() is None, f"{stream}: the run ended at {read}, not {wanted}"
        time.sleep(0.05)


def test_streams_are_told_apart_and_fetched(
    tmp_path: Path, processes: Processes, sut_port: int
) -> None:
    out, port = tmp_path / "out", free_port()
    config = write_config(tmp_path, sut_port, 6000)
    words = ("--config", config, "--out", str(out))
    _, asker, said = begin(processes, port, tmp_path / "results", *words)
    for name, rate in STREAMS.items():
        wait_for_gauge(said, asker, name, {"loadgen_run_state": 1, "loadgen_worker_up": 1})
        wait_for_gauge(said, asker, name, {"loadgen_run_target_qps": rate})
    assert asker.wait(END_S) == 0
    final = scraped(said)
    mixed = json.loads((out / "mixed.json").read_text())
    for stream in mixed["streams"]:
        issued = stream["summary"]["counts"]["requests"]["issued"]
        assert final["loadgen_requests_issued_total", stream["name"]] == issued > 0
        folder = out / stream["directory"]
        assert {"records.parquet", "summary.json", "report.html"} <= {
            path.name for path in folder.iterdir()
        }
    assert (out / "report.html").is_file()


def test_a_service_that_dies_leaves_what_every_stream_measured(
    tmp_path: Path, processes: Processes, sut_port: int
) -> None:
    results, port = tmp_path / "results", free_port()
    config = write_config(tmp_path, sut_port, 60_000)
    service, asker, _ = begin(processes, port, results, "--config", config)
    (directory,) = results.iterdir()
    segments = [directory / "streams" / name / "series/00/worker-0000.seg" for name in STREAMS]
    for segment in segments:
        wait_for_bytes(segment)
    service.kill()
    service.wait(10)
    asker.kill()
    _, said = processes.start("serve", "--port", str(port), "--results", str(results))
    wait_for(said, "ready on")
    mixed = json.loads((directory / "mixed.json").read_text())
    assert mixed["state"] == "INTERRUPTED"
    assert mixed["valid"] is False
    for stream in mixed["streams"]:
        assert stream["state"] == "INTERRUPTED"
        assert stream["summary"]["counts"]["queries"]["completed"] > 0


def wait_for_bytes(path: Path) -> None:
    deadline = time.monotonic() + END_S
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline, f"{path} never held a batch"
        time.sleep(0.05)
