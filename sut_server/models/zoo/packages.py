"""Where a file lies inside an installed package, found without importing the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def package_file(package: str, *parts: str) -> Path:
    """Path of ``parts`` inside a package. Raises ModuleNotFoundError naming what is missing."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, *parts)
        if path.exists():
            return path
    missing = "/".join((package, *parts))
    raise ModuleNotFoundError(f"no {missing} installed", name=missing)
