"""The documents of the interface name every field and every finding, and no finding besides."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel
from series_builder import Series, closed, server

from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.parts import SeriesSummary, SutSummary, WorkerSummary
from loadgen_service.core.summary.run import Summary

DOCS = Path(__file__).parents[2] / "docs" / "reference"
ACCURACY = Settings(scenario="server", mode="accuracy", accuracy_target=0.5)


@pytest.mark.parametrize("model", [Summary, SeriesSummary, SutSummary, WorkerSummary])
def test_summary_md_names_every_field(model: type[BaseModel]) -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", (DOCS / "summary.md").read_text()))
    written = {name for name, field in model.model_fields.items() if not field.exclude}
    assert written <= named


def test_verdict_md_names_every_finding_and_no_other() -> None:
    waiting = closed("concurrency", 200, concurrency=64)
    waiting.workers = [replace(waiting.workers[0], peak_outstanding=8, blocked_by_streams=1)]
    judged = [
        waiting,
        server(),
        server(use_token_latencies=True),
        server(engine="mlcommons"),
        Series(ACCURACY),
        Series(ACCURACY.model_copy(update={"engine": "mlcommons"})),
    ]
    known = {finding.name for series in judged for finding in series.verdict().findings}
    listed = re.findall(r"^\| `([a-z_]+)` \|", (DOCS / "verdict.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(known)
