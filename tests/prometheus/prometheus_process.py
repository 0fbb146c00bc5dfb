"""Starts the real ``prometheus`` as a process, with this project's rules, and asks it questions."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
WAIT_S = 60.0


def program(name: str) -> str:
    """Path of ``prometheus`` or ``promtool``; the test is skipped without it."""
    found = shutil.which(name)
    return found or pytest.skip(f"no {name} here: apt-get install prometheus")


def wait_until(is_met: Callable[[], Any], cause: str, limit_s: float = WAIT_S) -> Any:
    """Poll until ``is_met`` gives something true; fails naming ``cause``."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = is_met()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{cause} within {limit_s:g} s")


@dataclass
class Prometheus:
    """A running server. ``folder`` holds a targets file a job."""

    url: str
    folder: Path

    def scrape(self, job: str, *addresses: str) -> None:
        """From now on these are the job's targets."""
        targets = [{"targets": list(addresses)}]
        partial = self.folder / f"{job}.json.partial"
        partial.write_text(json.dumps(targets))
        partial.rename(self.folder / f"{job}.json")

    def query(self, expression: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """Series of an instant query."""
        when = {} if at_s is None else {"time": str(at_s)}
        return self._ask("query", query=expression, **when)

    def query_range(self, expression: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        """Series of a range query, four points a second."""
        return self._ask(
            "query_range", query=expression, start=str(start_s), end=str(end_s), step="0.25"
        )

    def value(self, expression: str) -> float:
        """The one number of an instant query."""
        (one,) = self.query(expression)
        return float(one["value"][1])

    def _ask(self, what: str, **parameters: str) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters['query']}: {error.read().decode()}") from None
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])


@contextmanager
def prometheus(folder: Path) -> Iterator[Prometheus]:
    """The real server on a free loopback port until the block ends."""
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(scrape_config(folder)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    server = Prometheus(f"http://127.0.0.1:{port}", folder)
    try:
        wait_until(lambda: _is_ready(server.url, process, folder), "Prometheus was not ready")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def scrape_config(folder: Path) -> dict[str, Any]:
    """The shipped configuration with other targets and a quicker pace."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {
        "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"
    }  # fmt: skip
    config["rule_files"] = [str(RULES)]
    for job in config["scrape_configs"]:
        for kind in ("static_configs", "dns_sd_configs", "authorization"):
            job.pop(kind, None)
        job["file_sd_configs"] = [{"files": [str(folder / f"{job['job_name']}.json")]}]
    return config


def _is_ready(url: str, process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError((folder / "prometheus.log").read_text()[-2000:])
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
