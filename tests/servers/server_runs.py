"""One ``loadgen run`` against a server, and what it left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RUN_S = 120.0


def run(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """``loadgen run FLAGS`` to its end, its two streams apart: a mistake must be one line."""
    return subprocess.run(
        [sys.executable, "-m", "loadgen_service", "run", *flags, "--out", str(out), "--quiet"],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )


def summary_of(out: Path) -> dict[str, Any]:
    """summary.json of a run directory."""
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def unmet(out: Path) -> dict[str, dict[str, Any]]:
    """Findings that were not met, by name."""
    return {one["name"]: one for one in summary_of(out)["findings"] if not one["met"]}


def counts_of(out: Path) -> dict[str, int]:
    """Counts of requests, whose accounts are closed."""
    counts: dict[str, int] = summary_of(out)["counts"]["requests"]
    ended = ("completed", "failed", "timed_out", "lost")
    assert counts["issued"] == sum(counts[name] for name in ended)
    assert counts["planned"] == counts["issued"] + counts["not_issued"]
    return counts
