"""Where a submission folder keeps what, and what a check says of it (specification 8.1).

Paths and names only: reads no log and judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen_service.mlperf.submission.rules import RULES, BenchmarkRule

SCENARIO_FOLDERS: Final[Mapping[str, str]] = {
    "singlestream": "SingleStream",
    "multistream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
    "interactive": "Server",
}
"""Scenario folder -> LoadGen's scenario. Interactive is Server with a model's tighter limits."""

MEASUREMENT_FIELDS: Final[Mapping[str, str]] = {
    "input_data_types": "as fp32",
    "retraining": "yes or no",
    "starting_weights_filename": "where the weights come from",
    "weight_data_types": "as int8",
    "weight_transformations": "as quantized with calibration data",
}

FACTS_FOLDER: Final = "documentation/loadgen-service"
"""Our own summaries of the runs: what no LoadGen log says, such as whether data crossed."""


@dataclass(frozen=True, slots=True)
class Miss:
    """One thing that keeps the folder from being valid. ``path``: inside the folder.

    ``ours``: MLPerf's rules demand it, or a sound result does, but its checker does not look.
    """

    path: str
    text: str
    ours: bool = False

    def __str__(self) -> str:
        mark = " [not looked at by MLPerf's checker]" if self.ours else ""
        return f"{self.path}: {self.text}{mark}"


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """One result: a scenario folder of a benchmark. ``task``: the official benchmark it maps to."""

    root: Path
    division: str
    submitter: str
    system: str
    benchmark: str
    task: str
    scenario: str

    @property
    def organisation(self) -> Path:
        """The submitter's folder."""
        return self.root / self.division / self.submitter

    @property
    def folder(self) -> Path:
        """The result's own folder."""
        return self.organisation / "results" / self.system / self.benchmark / self.scenario

    @property
    def performance(self) -> Path:
        """Logs of the performance run."""
        return self.folder / "performance" / "run_1"

    @property
    def accuracy(self) -> Path:
        """Logs and score of the accuracy run."""
        return self.folder / "accuracy"

    @property
    def facts(self) -> Path:
        """Our own summaries of this result's runs."""
        return self.organisation / FACTS_FOLDER / self.system / self.benchmark / self.scenario

    @property
    def rule(self) -> BenchmarkRule | None:
        """What the benchmark demands; None for a name that MLPerf does not know."""
        return RULES.get(self.task)

    @property
    def official_scenario(self) -> str:
        """LoadGen's name of the scenario."""
        return SCENARIO_FOLDERS.get(self.scenario.lower(), self.scenario)

    @property
    def is_open(self) -> bool:
        """Whether the open division's fewer rules hold."""
        return self.division == "open"

    def name(self, path: Path) -> str:
        """A path as a miss shows it."""
        return path.relative_to(self.root).as_posix()


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where the file is missing or holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read_text(path: Path) -> str:
    """A text file; empty where it is missing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
