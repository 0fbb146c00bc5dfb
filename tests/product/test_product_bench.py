"""The harness of the comparison measures, judges and reports; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from harness import Result, Row, Side, measure  # noqa: E402
from kept import OtherEnvironment, keep, table, write_table  # noqa: E402
from processes import MissingPeer  # noqa: E402

HERE = {"machine": {"processor": "p", "cores": 2, "python": "3"}, "versions": {"numpy": "2"}}
ORDER = ["loops", "servers"]


def row_of(group: str, figure: float, unix_s: int = 0) -> Result:
    return Result("speed", "peer", "1/s", 2.0, figure, 1.0, figure, figure, figure, 1,
                  group=group, measured_unix_s=unix_s)  # fmt: skip


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
    result.group = "loops"
    keep(tmp_path / "results.json", [result], HERE, ORDER, is_whole=True)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["rows"][0]["reason"].startswith("perf_analyzer")


def test_a_group_that_is_named_replaces_its_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    keep(path, [row_of("loops", 1.0), row_of("servers", 2.0)], HERE, ORDER, is_whole=True)
    rows = keep(path, [row_of("loops", 3.0), row_of("loops", 4.0)], HERE, ORDER, is_whole=False)
    assert [row.ours_figure for row in rows] == [3.0, 4.0, 2.0]
    written = json.loads(path.read_text())["rows"]
    assert [(row["group"], row["is_met"]) for row in written] == [
        ("loops", True),
        ("loops", True),
        ("servers", True),
    ]


def test_figures_of_two_environments_do_not_share_a_table(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    keep(path, [row_of("loops", 1.0), row_of("servers", 2.0)], HERE, ORDER, is_whole=True)
    before = path.read_bytes()
    newer = {**HERE, "versions": {"numpy": "3"}}
    with pytest.raises(OtherEnvironment, match="numpy 2, here it is 3"):
        keep(path, [row_of("loops", 3.0)], newer, ORDER, is_whole=False)
    assert path.read_bytes() == before
    rows = keep(path, [row_of("loops", 3.0)], newer, ORDER, is_whole=True)
    assert [row.ours_figure for row in rows] == [3.0]


def test_rows_of_a_group_that_there_is_no_more_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    keep(path, [row_of("loops", 1.0), row_of("servers", 2.0)], HERE, ORDER, is_whole=True)
    rows = keep(path, [row_of("loops", 3.0)], HERE, ["loops"], is_whole=False)
    assert [row.ours_figure for row in rows] == [3.0]


def test_the_page_says_when_each_group_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    rows = [row_of("loops", 1.0, 1_795_834_665), row_of("servers", 2.0, 1_795_838_265)]
    write_table(page, rows, HERE)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "loops 2026-11-28 02:57, servers 2026-11-28 03:57" in text
    assert "**missed**" in text


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
