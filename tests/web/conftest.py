"""The bench of the service's tests, borrowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from service_bench import with_service


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``bench(test)`` runs ``test(Bench)`` against a fresh service with fake workers."""
    return lambda test: with_service(tmp_path, test, monkeypatch)
