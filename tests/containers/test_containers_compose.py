"""The images of both Dockerfiles are built and docker-compose.yml is brought up for real: the
service, two workers, sut-server and Prometheus; a run from outside goes through all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import PROJECT, Engine, why_not

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

TOKEN = "0123456789abcdef-of-the-tests"
PARTS = ("loadgen", "worker", "sut-server", "prometheus")
SEEN_S = 30.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Engine(TOKEN) as made:
        print("\nbuilt:", {name: f"{took:.0f} s" for name, took in made.build_images().items()})
        began = time.monotonic()
        up = made.compose("up", "--detach", "--no-build", "--scale", "worker=2", *PARTS)
        assert up.returncode == 0, up.stderr
        print(
            f"up: {', '.join(PARTS)} in {time.monotonic() - began:.1f} s (not run: triton, grafana)"
        )
        yield made


def names(engine: Engine) -> list[str]:
    listed = engine.podman(
        "ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Names}}"
    )
    return sorted(listed.split())


def test_every_part_is_up_and_unprivileged(engine: Engine) -> None:
    assert names(engine) == sorted(
        f"{PROJECT}-{part}"
        for part in ("loadgen-1", "worker-1", "worker-2", "sut-server-1", "prometheus-1")
    )
    for name in names(engine):
        (found,) = json.loads(engine.podman("inspect", name))
        assert found["HostConfig"]["ReadonlyRootfs"] is True, name
        assert found["HostConfig"]["Privileged"] is False
        assert not found["EffectiveCaps"], name
        assert found["Config"]["User"] not in ("", "0", "root"), name


def test_workers_reach_no_network_but_their_own(engine: Engine) -> None:
    """`load` is internal and holds the SUTs; Prometheus is not on it."""
    look = "import socket; print(socket.gethostbyname('{}'))"
    worker = f"{PROJECT}-worker-1"
    assert engine.podman("exec", worker, "python", "-c", look.format("sut-server")).strip()
    ran = subprocess.run(
        ["podman", "exec", worker, "python", "-c", look.format("prometheus")],
        env=engine.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "gaierror" in ran.stderr


def test_a_run_from_outside_goes_through_all_of_them(engine: Engine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "run", "--service", "127.0.0.1:7440",
         "--token-file", str(engine.token_file), "--sut", "grpc://sut-server:8001",
         "--model", "efficientnet-lite0", "--dataset", "imagenet-sample", "--scenario", "server",
         "--target-qps", "5", "--target-latency-ms", "1000", "--workers", "2",
         "--min-duration-ms", "4000", "--min-query-count", "20", "--out", str(out), "--quiet"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr
    summary = json.loads((out / "summary.json").read_text())
    counts = summary["counts"]["queries"]
    assert counts["planned"] >= 20
    assert counts["completed"] == counts["planned"], ran.stdout
    deadline = time.monotonic() + SEEN_S
    while scraped("loadgen_requests_total", status="completed") != float(counts["completed"]):
        assert time.monotonic() < deadline, scraped("loadgen_requests_total", status="completed")
        time.sleep(0.5)
    assert scraped("up", job="loadgen") == 1.0
    assert scraped("up", job="sut-server") == 1.0


def scraped(metric: str, **labels: str) -> float | None:
    """The value that Prometheus has; None where it has none."""
    chosen = ",".join(f'{name}="{value}"' for name, value in labels.items())
    query = urllib.parse.quote(f"sum({metric}{{{chosen}}})")
    url = f"http://127.0.0.1:9090/api/v1/query?query={query}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: dict[str, Any] = json.load(answer)
    found = content["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def test_without_the_token_the_service_refuses(engine: Engine, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token-of-the-tests")
    ran = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "run", "--service", "127.0.0.1:7440",
         "--token-file", str(wrong), "--sut", "grpc://sut-server:8001", "--model", "synthetic"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "does not know the token" in ran.stderr
