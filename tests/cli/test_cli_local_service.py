"""Which processes may step back for their workers: the command, and nobody who calls it."""

from __future__ import annotations

import pytest

from loadgen_service.cli.local_service import is_command


@pytest.mark.parametrize(
    ("program", "is_it"),
    [
        ("/venv/bin/loadgen", True),
        ("/site-packages/loadgen_service/__main__.py", True),
        ("/venv/bin/pytest", False),
        ("/site-packages/ipykernel_launcher.py", False),
        ("/home/me/bench/__main__.py", False),
        ("-c", False),
        ("", False),
    ],
)
def test_only_the_command_itself_owns_its_process(program: str, is_it: bool) -> None:
    assert is_command(program) is is_it
