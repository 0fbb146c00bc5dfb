"""The commands in the compose file, the Dockerfiles and the Kubernetes manifests are accepted by
the real parsers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import complaint

ROOT = Path(__file__).parents[2]
PROGRAMS = {"deploy/Dockerfile.service": "loadgen", "deploy/Dockerfile.sut-server": "sut-server"}
KUBERNETES = ("base/service.yaml", "base/workers.yaml")
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def built_commands() -> dict[str, list[str]]:
    """Compose service -> its command line, for those that run our images' own program."""
    return {
        name: [PROGRAMS[service["build"]["dockerfile"]], *service["command"]]
        for name, service in SERVICES.items()
        if "build" in service and "entrypoint" not in service
    }


def exec_form(dockerfile: str, word: str) -> list[str]:
    (found,) = re.findall(rf"^{word} (\[.*\])$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    words = json.loads(found)
    assert isinstance(words, list)
    return words


@pytest.mark.parametrize("name", built_commands())
def test_command_of_a_compose_service_is_accepted(name: str) -> None:
    assert complaint(built_commands()[name]) == ""


def test_compose_runs_every_program() -> None:
    assert {words[0] for words in built_commands().values()} == {"loadgen", "sut-server"}
    assert {"loadgen", "worker", "sut-server"} <= set(built_commands())


def kubernetes_commands() -> dict[str, list[str]]:
    """Container -> its command line; the image's own program is `loadgen`."""
    found = {}
    for file in KUBERNETES:
        for one in yaml.safe_load_all((ROOT / "deploy/kubernetes" / file).read_text()):
            pod = one["spec"].get("template", {}).get("spec", {})
            for container in pod.get("containers", []):
                assert container["image"] == "loadgen/service"
                found[container["name"]] = ["loadgen", *container["args"]]
    return found


@pytest.mark.parametrize("name", ["loadgen", "worker"])
def test_command_of_a_kubernetes_container_is_accepted(name: str) -> None:
    assert set(kubernetes_commands()) == {"loadgen", "worker"}
    assert complaint(kubernetes_commands()[name]) == ""


@pytest.mark.parametrize("dockerfile", PROGRAMS)
def test_command_of_an_image_is_accepted(dockerfile: str) -> None:
    entry = exec_form(dockerfile, "ENTRYPOINT")
    assert entry in (["loadgen"], ["python", "-m", "sut_server"])
    assert complaint([PROGRAMS[dockerfile], *exec_form(dockerfile, "CMD")]) == ""


def test_a_slip_in_a_command_is_found() -> None:
    words = [*built_commands()["loadgen"], "--alow-sut=x:1"]
    assert "did you mean --allow-sut" in complaint(words)
