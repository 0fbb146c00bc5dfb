"""The hosts of one test, and the fault table that the tests of this folder fill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_runs import Fleet
from five_hosts import FiveHosts, why_not

ROWS: list[str] = []
HEAD = (
    "| fault | verdict | planned / not issued / completed / failed / timed out / lost | took |",
    "|---|---|---|---|",
)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with FiveHosts(tmp_path) as hosts:
        yield Fleet(hosts)


@pytest.fixture
def fault_table() -> list[str]:
    return ROWS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each fault led to."""
    if ROWS:
        terminalreporter.write_sep("=", "faults")
        for line in (*HEAD, *ROWS):
            terminalreporter.write_line(line)
