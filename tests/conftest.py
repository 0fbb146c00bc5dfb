"""How the tests are spread over processes, and names that are the same in each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("official_plans", "official_cases")

PLAIN_BYTES_MAX = 24


def pytest_make_parametrize_id(val: Any) -> str | None:
    """Name bytes by their length, unless they are short text.

    Compressed bytes hold the second at which they were made, so pytest's own names differ between
    the processes of pytest-xdist, which then refuses to run.
    """
    if not isinstance(val, bytes):
        return None
    if len(val) <= PLAIN_BYTES_MAX and val.isascii() and val.decode().isprintable():
        return None
    return f"{len(val)} bytes"


ONE_SERVER = ("prometheus", "triton")
"""Folders whose tests share a server that takes long to start."""

LONGEST_FIRST = ("product", "prometheus", "triton", "integration", "simulation", "fuzz", "fleet")
"""Folders that begin first: a long one at the end would keep one process busy and the rest idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file in one process, and begin with what takes long.

    So are a folder with one server, and the checks of all sources, which parse them once.
    """
    root = Path(__file__).parent

    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(root).parts[0]

    def turn(item: pytest.Item) -> int:
        name = folder(item)
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    for item in items:
        name = folder(item)
        shared = name if name in ONE_SERVER else "sources" if name == item.path.name else ""
        item.add_marker(pytest.mark.xdist_group(shared or item.path.stem))
    items.sort(key=turn)
