"""A run of the real programs over five hosts, with a fault thrown in, and what became of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from five_hosts import FiveHosts, Process

SERVICE_PORT = 7440
SUT_PORT = 8001
QPS = 200
RUN_MS = 8000
TIMEOUT_MS = 2000
END_S = 90.0


@dataclass
class Ended:
    """How a run over the hosts ended."""

    exit_code: int
    said: str
    directory: Path
    seconds: float

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.directory / "summary.json").read_text())

    @property
    def unmet(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.summary["findings"] if not one["met"]}

    def columns(self, *names: str) -> dict[str, np.ndarray]:
        table = pq.read_table(self.directory / "records.parquet", columns=list(names))
        return {name: table.column(name).to_numpy() for name in names}

    def require_closed_accounts(self) -> dict[str, int]:
        """Every planned query is counted once, and no record is there twice."""
        counts = self.summary["counts"]["queries"]
        assert counts["planned"] == counts["not_issued"] + counts["issued"]
        settled = ("completed", "failed", "timed_out", "lost")
        assert counts["issued"] == sum(counts[name] for name in settled), counts
        rows = self.columns("series", "seq_id", "status")
        keys = np.stack([rows["series"].astype(np.int64), rows["seq_id"].astype(np.int64)])
        assert len(np.unique(keys, axis=1).T) == len(rows["seq_id"])
        assert int((rows["status"] == 1).sum()) == counts["completed"]
        return counts

    def row(self, fault: str) -> str:
        """A line of the fault table."""
        counts = self.summary["counts"]["queries"]
        names = ("planned", "not_issued", "completed", "failed", "timed_out", "lost")
        told = "; ".join(f"{name}: {one['measured']}" for name, one in self.unmet.items())
        numbers = " / ".join(str(counts[name]) for name in names)
        verdict = "VALID" if self.summary["valid"] else "INVALID"
        return f"| {fault} | {verdict}: {told or 'all met'} | {numbers} | {self.seconds:.0f} s |"


@dataclass
class Fleet:
    """The programs on their hosts."""

    hosts: FiveHosts
    service: Process | None = None
    workers: list[Process] = field(default_factory=list)
    suts: list[Process] = field(default_factory=list)
    results: Path = Path()

    @property
    def service_address(self) -> str:
        return f"{self.hosts.addresses['coordinator']}:{SERVICE_PORT}"

    def sut_address(self, number: int) -> str:
        return f"{self.hosts.addresses[f'sut{number}']}:{SUT_PORT}"

    def start(self, sut_flags: Sequence[str] = ("--service-time", "constant:2")) -> None:
        """Service, two workers, two SUTs; returns when they are ready."""
        self.results = self.hosts.folder / "results"
        for number in (1, 2):
            self.start_sut(number, sut_flags)
        self.start_service()
        for number in (1, 2):
            self.workers.append(self.start_worker(number))
        for sut in self.suts:
            sut.wait_for("ready on")

    def start_sut(self, number: int, flags: Sequence[str]) -> Process:
        host = f"sut{number}"
        sut = self.hosts.start(
            host, sys.executable, "-m", "sut_server", "--model", "synthetic", *flags,
            "--host", self.hosts.addresses[host], "--port", str(SUT_PORT), "--insecure",
        )  # fmt: skip
        self.suts.append(sut)
        return sut

    def start_service(self, *flags: str) -> Process:
        self.service = self.hosts.start(
            "coordinator", sys.executable, "-m", "loadgen_service", "serve",
            "--host", self.hosts.addresses["coordinator"], "--port", str(SERVICE_PORT),
            "--results", str(self.results), "--insecure", *flags,
        )  # fmt: skip
        self.service.wait_for("ready on")
        return self.service

    def start_worker(self, number: int, env: dict[str, str] | None = None) -> Process:
        return self.hosts.start(
            f"worker{number}", sys.executable, "-m", "loadgen_service", "worker",
            "--coordinator", self.service_address, "--insecure", env=env,
        )  # fmt: skip

    def begin(self, *flags: str, workers: int = 2, scenario: str = "server") -> Process:
        """Start a run and return once it issues."""
        suts = ",".join(f"grpc://{self.sut_address(number)}" for number in (1, 2))
        asker = self.hosts.start(
            "coordinator", sys.executable, "-m", "loadgen_service", "run",
            "--service", self.service_address, "--insecure",
            "--sut", suts, "--model", "synthetic", "--scenario", scenario,
            "--workers", str(workers), "--target-qps", str(QPS), "--min-duration-ms", str(RUN_MS),
            "--min-query-count", "100", "--timeout-ms", str(TIMEOUT_MS),
            "--target-latency-ms", "100", *flags, name="asker",
        )  # fmt: skip
        asker.wait_for(": issuing")
        return asker

    def finish(self, asker: Process, started: float) -> Ended:
        """Wait for the run's end and find its files with the service."""
        code = asker.wait(END_S)
        directory = max(path for path in self.results.iterdir() if path.is_dir())
        return Ended(code, asker.said, directory, time.monotonic() - started)

    def only_directory(self) -> Path:
        found = [path for path in self.results.iterdir() if path.is_dir()]
        assert len(found) == 1, found
        return found[0]

    def run_with(self, fault: Callable[[], None], *flags: str, at_s: float = 2.0) -> Ended:
        """A run with a fault ``at_s`` after it began to issue."""
        asker = self.begin(*flags)
        started = time.monotonic()
        time.sleep(at_s)
        fault()
        return self.finish(asker, started)
