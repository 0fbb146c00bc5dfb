"""Servers of other projects, each in its own environment; skipped by name where it is not there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "product"))
sys.path.insert(0, str(Path(__file__).parents[1] / "triton"))

from stream_servers import llama


@pytest.fixture(scope="session")
def llama_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``openai://HOST:PORT/v1`` of a llama.cpp server."""
    with llama(tmp_path_factory.mktemp("llama")) as served:
        yield f"openai://{served.at['openai']}"
