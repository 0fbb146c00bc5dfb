"""Puts an audit's files into MLPerf's layout, and into audit.json for machines. Judges nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen_service.errors import RunError, UserError
from loadgen_service.mlperf.audit.rules import Part
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE

REPORT_FILE: Final = "audit.json"
CONF_FILE: Final = "audit.config"


@dataclass(frozen=True, slots=True)
class AuditResult:
    """One finished test. ``runs``: directory by run name; ``notes``: said, not judged."""

    test: str
    parts: tuple[Part, ...]
    runs: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it failed: measurements that do not count, then the rules."""
        return (*self.invalid, *(reason for part in self.parts for reason in part.reasons))

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    @property
    def word(self) -> str:
        """``PASS`` or ``FAIL``."""
        return "PASS" if self.passed else "FAIL"


def report_lines(result: AuditResult) -> list[str]:
    """What the command prints: the word first, then every reason and note."""
    lines = [f"{result.test} {result.word}"]
    lines += [f"  - {reason}" for reason in result.reasons]
    for part in result.parts:
        lines += [f"  {line}" for line in part.lines if " = " in line or "check pass" in line]
    return [*lines, *(f"  note: {note}" for note in result.notes)]


def write_audit(folder: Path, result: AuditResult, audit_run: Path) -> Path:
    """Write ``folder/TESTnn/`` as a submission holds it, and audit.json; returns that folder.

    A test whose measurements do not count gets no verify file that says PASS. Raises RunError
    where the disk refuses, UserError where the audited run lacks a log.
    """
    test_folder = folder / result.test
    run = test_folder / "performance" / "run_1"
    try:
        run.mkdir(parents=True, exist_ok=True)
        for name in (SUMMARY_FILE, DETAIL_FILE):
            shutil.copyfile(audit_run / name, run / name)
        if any(part.name == "accuracy" for part in result.parts):
            (test_folder / "accuracy").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(audit_run / ACCURACY_FILE, test_folder / "accuracy" / ACCURACY_FILE)
        for part in result.parts:
            text = "\n".join([*_verify_lines(result, part), ""])
            (test_folder / f"verify_{part.name}.txt").write_text(text, encoding="utf-8")
        (test_folder / REPORT_FILE).write_text(_as_json(result), encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: missing; the audited run wrote no such log") from None
    except OSError as error:
        raise RunError(
            f"{test_folder}: {error.strerror}; free some space or choose another --out"
        ) from None
    return test_folder


def _verify_lines(result: AuditResult, part: Part) -> Sequence[str]:
    if not result.invalid:
        return part.lines
    kept = [line for line in part.lines if not line.startswith("TEST PASS")]
    return [*kept, *(f"TEST FAIL: {reason}" for reason in result.invalid)]


def _as_json(result: AuditResult) -> str:
    content = {
        "format": "loadgen-audit",
        "version": 1,
        "test": result.test,
        "passed": result.passed,
        "reasons": list(result.reasons),
        "notes": list(result.notes),
        "runs": result.runs,
        "parts": [
            {"name": part.name, "passed": part.passed, "lines": list(part.lines)}
            for part in result.parts
        ],
    }
    return json.dumps(content, indent=2) + "\n"
