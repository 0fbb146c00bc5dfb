"""Borrows the bench of the service's tests and the processes of the integration tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent.parent
for folder in ("service", "integration"):
    sys.path.insert(0, str(TESTS / folder))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``bench(test)`` runs ``test(Bench)`` against a fresh service with fake workers."""
    from service_bench import with_service

    return lambda test: with_service(tmp_path, test, monkeypatch)
