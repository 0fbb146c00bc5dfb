"""Prints the requirements that pyproject.toml states for the packages named in files.

``python deploy/requirements.py FILE...``: one package name a line, ``#`` begins a comment. An
image then installs a part of the project's dependencies without stating a version twice.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def package_name(requirement: str) -> str:
    """``tritonclient[grpc]>=2.55`` -> ``tritonclient``."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found.group().lower() if found else ""


def stated_requirements(project: Path = PROJECT) -> dict[str, str]:
    """Package name -> requirement, over the dependencies and all extras."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    return {package_name(text): text for group in groups for text in group}


def wanted_names(files: Iterable[Path]) -> list[str]:
    """The package names in the files, comments and blank lines left out."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    names = [line.partition("#")[0].strip().lower() for line in lines]
    return [name for name in names if name]


def main(arguments: list[str]) -> int:
    """Print one requirement a line; 2 and a line on stderr for a name that nobody states."""
    stated = stated_requirements()
    for name in wanted_names(map(Path, arguments)):
        if name not in stated:
            print(f"deploy/requirements.py: {name} is not in pyproject.toml", file=sys.stderr)
            return 2
        print(stated[name])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
