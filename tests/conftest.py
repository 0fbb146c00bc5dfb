"""Names of tests that are the same in every process, and fixture modules whose asserts explain."""

from __future__ import annotations

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
