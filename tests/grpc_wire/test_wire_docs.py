"""docs/reference/wire.md is true: its example runs, and its table of limits is limits.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from grpc_wire import limits

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def test_example_of_the_page_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "assert answers ==" in example
    subprocess.run([sys.executable, "-c", example], check=True, timeout=60)


def test_table_of_limits_is_the_module() -> None:
    table = {}
    for name, number, unit in re.findall(r"^\| `([A-Z_]+)` \| (\d+) ?(\w*) \|", PAGE, re.MULTILINE):
        table[name] = int(number) * UNITS.get(unit, 1)
    assert table == {name: value for name, value in vars(limits).items() if name.isupper()}


def test_files_and_tests_that_the_page_names_exist() -> None:
    root = Path(__file__).parents[2]
    named = re.findall(r"`((?:loadgen_service|sut_server|tests|bench|proto)/[\w./]+)`", PAGE)
    assert len(named) >= 5
    assert not [name for name in named if not (root / name).exists()]
