"""Files of the root agree: one version, one licence, one list of checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import loadgen_service

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def targets_of(commands: str) -> set[str]:
    lines = re.findall(r"^(?:- run: )?make (.*)$", commands, re.MULTILINE)
    return {target for line in lines for target in line.split()}


def test_version_has_one_source() -> None:
    assert "version" not in PROJECT["project"]
    source = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert source == "loadgen_service.version.__version__"
    for path in (ROOT / "deploy" / "kubernetes").rglob("kustomization.yaml"):
        for tag in re.findall(r'newTag: "([^"]+)"', path.read_text()):
            assert tag == loadgen_service.__version__, path
    assert f"## {loadgen_service.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert len(text.splitlines()) == 202


def test_workflow_and_ci_call_the_same_targets() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text())
    steps = workflow["jobs"]["checks"]["steps"]
    there = targets_of("\n".join(step["run"] for step in steps if "run" in step))
    here = targets_of((ROOT / ".ci" / "run").read_text())
    assert there == here
    assert here <= MAKE_TARGETS


def test_hooks_before_a_commit_run_programs_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    assert entries
    assert all(entry.startswith(".venv/bin/") for entry in entries)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "README.md"])
def test_links_of_a_root_page_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_contributing_says_how_to_add_each_part() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## How to add (?:a|an) (.*)$", text, re.MULTILINE)
    wanted = {"protocol", "finding", "figure", "data set", "scenario", "engine", "setting"}
    wanted |= {"record column", "result file"}
    assert set(parts) == wanted
