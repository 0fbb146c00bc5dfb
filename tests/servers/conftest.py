"""Servers of other projects, each in its own environment; skipped by name where it is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stream_servers import llama


@pytest.fixture(scope="session")
def llama_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``openai://HOST:PORT/v1`` of a llama.cpp server."""
    with llama(tmp_path_factory.mktemp("llama")) as served:
        yield f"openai://{served.at['openai']}"
