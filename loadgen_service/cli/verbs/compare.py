"""``loadgen compare DIR DIR...``: which system is better for one job, by how much, and how surely.

Each DIR is a system, compared with the first one; NAME=DIR names it, and several directories of
one NAME (scenarios, an accuracy run) are one system.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen_service.cli.flags import OneLineParser
from loadgen_service.core.printable import printable
from loadgen_service.errors import UserError

if TYPE_CHECKING:
    from loadgen_service.compare.comparison import Comparison
    from loadgen_service.compare.systems import System
    from loadgen_service.compare.task import Task


def main(argv: Sequence[str]) -> int:
    """Compare and print; 0, or 1 if a condition of --fail-if holds, 2 if not comparable."""
    given = _parser().parse_strictly(argv)
    from loadgen_service.compare.comparison import compare_systems
    from loadgen_service.compare.formats import as_text
    from loadgen_service.compare.gate import parse_condition
    from loadgen_service.compare.systems import read_systems
    from loadgen_service.compare.task import load_task

    conditions = [parse_condition(text) for text in given.fail_if]
    systems = read_systems(given.directory)
    found = compare_systems(
        systems,
        task=load_task(given.task) if given.task else _recorded_task(systems),
        conditions=conditions,
        reference=given.reference,
        confidence=_confidence(given.confidence),
        force=given.force,
    )
    print(as_text(found), end="")
    for path in _write(found, given):
        print(f"written: {path}", file=sys.stderr)
    return 1 if found.gate_failed else 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="loadgen compare", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("directory", nargs="+", metavar="[NAME=]DIR", help="run directory")
    add("--task", default="", metavar="TASK", help="task file or a built-in task; by default what "
        "the runs recorded")  # fmt: skip
    add("--reference", default="", metavar="NAME", help="the system that scores 1; by default the "
        "task's reference, else the first system")  # fmt: skip
    add("--fail-if", action="append", default=[], metavar="CONDITION", help="such as "
        "'latency_ns.p99 > +5%%': exit with 1 if that figure of summary.json changed so much "
        "since the first system; may be repeated")  # fmt: skip
    add("--confidence", default="0.99", metavar="X", help="of the intervals (default 0.99)")
    add("--force", action="store_true", help="compare what is not comparable, and mark it")
    add("--html", default="", metavar="FILE", help="write a page with plots, which opens offline")
    add("--markdown", default="", metavar="FILE", help="write the tables as Markdown")
    add("--junit", default="", metavar="FILE", help="write JUnit XML, a test case a condition")
    return parser


def _confidence(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.5 <= value <= 0.999:
        raise UserError(f"--confidence {text}: must be between 0.5 and 0.999")
    return value


def _recorded_task(systems: Sequence[System]) -> Task | None:
    """The task that the runs were made for, if they name one and the same."""
    from loadgen_service.compare.task import load_task

    recorded = {str(run.summary.settings.get("task") or "") for s in systems for run in s.every_run}
    if len(recorded) > 1:
        shown = ", ".join(sorted(name or "none" for name in recorded))
        raise UserError(f"the runs were made for different tasks ({shown}); give --task")
    name = recorded.pop()
    return load_task(name) if name else None


def _write(found: Comparison, given: argparse.Namespace) -> list[Path]:
    from loadgen_service.compare.formats import as_junit, as_markdown
    from loadgen_service.compare.page import render_comparison

    wanted = {
        given.html: render_comparison,
        given.markdown: as_markdown,
        given.junit: as_junit,
    }
    return [write_file(name, render(found)) for name, render in wanted.items() if name]


def write_file(name: str, text: str) -> Path:
    """Write one file of text. Raises UserError where the disk refuses."""
    path = Path(name)
    try:
        path.write_text(printable(text), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name another file") from None
    return path
