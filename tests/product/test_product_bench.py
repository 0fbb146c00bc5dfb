"""The harness of the comparison measures, judges and reports; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from harness import Row, Side, measure, table, write_results  # noqa: E402
from processes import MissingPeer  # noqa: E402


def missing() -> float:
    raise MissingPeer("perf_analyzer is not installed: make bench-setup")


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    figures = iter([10.0, 20.0, 60.0])
    row = Row("speed", "1/s", Side("ours", lambda: next(figures)), Side("peer", lambda: 10.0), 2.0)
    result = measure(row)
    assert (result.ratio, result.ratio_min, result.ratio_max) == (2.0, 1.0, 6.0)
    assert result.is_met
    slower = Row("time", "s", Side("ours", lambda: 2.0), Side("peer", lambda: 1.0), 1.0, True)
    assert measure(slower).ratio == 0.5
    assert measure(slower).is_met is False


def test_a_missing_peer_is_named_in_the_table(tmp_path: Path) -> None:
    row = Row("speed", "1/s", Side("ours", lambda: 1.0), Side("peer", missing), 2.0)
    result = measure(row)
    assert result.is_met is None
    assert "make bench-setup" in table([result])
    write_results(tmp_path / "results.json", [result], {"numpy": "2"})
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["rows"][0]["reason"].startswith("perf_analyzer")


@pytest.mark.parametrize("group", ["plan-memory", "planning"])
def test_a_group_runs_by_its_name(group: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "run.py"), "--quick", group],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "not measured" not in done.stdout
    assert "| ours |" in done.stdout
