"""Every command of the tutorials works as pasted, in a clean folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tutorials import BLOCK, script_of

START = Path(__file__).parents[2] / "docs" / "start"
TUTORIALS = sorted(page.stem for page in START.glob("*.md"))


def test_each_user_has_a_tutorial_with_commands() -> None:
    assert TUTORIALS == ["accelerator", "endpoint", "fleet", "language-model", "mlperf"]
    for name in TUTORIALS:
        blocks = BLOCK.findall((START / f"{name}.md").read_text(encoding="utf-8"))
        assert any("loadgen run" in block for block in blocks)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TUTORIALS)
def test_commands_of_a_tutorial_work_as_pasted(name: str, tmp_path: Path) -> None:
    """Ports of the page are fixed, so this runs alone; a verdict of either kind is fine."""
    script = script_of((START / f"{name}.md").read_text(encoding="utf-8"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
        start_new_session=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    named = re.findall(r"--out (\S+)", script)
    assert named
    assert all((tmp_path / out).is_dir() for out in named)
