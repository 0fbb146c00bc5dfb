"""Applies a compliance test's rule to finished run directories.

Reads their logs and our summaries; where TEST01's answers differ, it may ask a scoring command.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadgen_service.checksums import require_sums, require_unchanged
from loadgen_service.core.summary.run import summary_from_json
from loadgen_service.errors import UserError
from loadgen_service.mlperf.audit.logs import (
    DetailLog,
    LoggedAnswer,
    read_accuracy_log,
    read_detail_log,
)
from loadgen_service.mlperf.audit.report import AuditResult
from loadgen_service.mlperf.audit.rules import (
    Part,
    baseline_of,
    equal_answers,
    equal_performance,
    no_caching,
    no_worse,
    token_rules,
    within_delta,
)
from loadgen_service.mlperf.logs.accuracy_log import AccuracyEntry, accuracy_lines
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE
from loadgen_service.mlperf.submission.checks import metric_of
from loadgen_service.mlperf.submission.rules import ACCURACY_PATTERNS

LOG_PLACEHOLDER: Final = "{accuracy_log}"
COMMAND_S: Final = 3600
BASELINE_FILE: Final = "mlperf_log_accuracy_baseline.json"
DEFAULT_DELTA_PERCENT: Final = 1.0


@dataclass(frozen=True, slots=True)
class AuditWay:
    """How logs are read. ``dtype`` empty: the test's own; ``command`` scores ``{accuracy_log}``."""

    dtype: str = ""
    eos_id: int = 2
    command: tuple[str, ...] = ()


def judge_audit(test: str, runs: Mapping[str, Path], way: AuditWay, folder: Path) -> AuditResult:
    """The test's verdict on ``runs`` (by run name). Raises UserError for logs that are missing.

    ``folder``: holds ``TESTnn``, where a baseline log and its scores go.
    """
    logs = {name: read_detail_log(path) for name, path in runs.items()}
    parts = list(_parts(test, runs, logs, way, folder / test))
    invalid, notes = _own_verdicts(runs)
    if test == "TEST06":
        # a hundred queries meet no minimum: only what went wrong with answers counts
        notes += invalid
        invalid = tuple(f"the audit run has an error: {text}" for text in logs["audit"].errors)
    run_paths = {name: str(path) for name, path in runs.items()}
    return AuditResult(test, tuple(parts), run_paths, notes, invalid)


def _parts(
    test: str,
    runs: Mapping[str, Path],
    logs: Mapping[str, DetailLog],
    way: AuditWay,
    test_folder: Path,
) -> Sequence[Part]:
    audited = logs["audit"]
    if test == "TEST06":
        streamed = audited.scenario != "Offline"
        logged = read_accuracy_log(runs["audit"])
        return [token_rules(logged, way.dtype or "int32", way.eos_id, streamed)]
    reference = logs["performance"]
    if test == "TEST04":
        return [no_caching(reference, audited)]
    if test == "TEST05":
        return [no_worse(reference, audited)]
    performance = equal_performance(reference, audited)
    return [_answers(runs, way, test_folder), performance] if test == "TEST01" else [performance]


def _answers(runs: Mapping[str, Path], way: AuditWay, test_folder: Path) -> Part:
    reference = read_accuracy_log(runs["accuracy"])
    logged = read_accuracy_log(runs["audit"])
    part = equal_answers(reference, logged, way.dtype or "byte")
    baseline = baseline_of(reference, logged)
    if part.passed or not baseline:
        return part
    folder = test_folder / "accuracy"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / BASELINE_FILE
    log.write_text(_log_text(baseline), encoding="utf-8")
    if not way.command:
        hint = f"if they may, score {log} and the audit's log, or give --accuracy-command"
        return replace(part, reasons=(*part.reasons, hint))
    texts = [
        _scored(way.command, path, folder / f"{name}_accuracy.txt")
        for name, path in (("baseline", log), ("compliance", runs["audit"] / ACCURACY_FILE))
    ]
    return _by_score(part, texts[0], texts[1])


def _by_score(part: Part, baseline: str, found: str) -> Part:
    """Answers that differ pass where every metric of both logs is there and hardly differs."""
    pairs = {
        name: (metric_of(name, baseline), metric_of(name, found)) for name in ACCURACY_PATTERNS
    }
    known = {name: (a, b) for name, (a, b) in pairs.items() if a is not None or b is not None}
    lines = [f"{name} = {b} (baseline {a})" for name, (a, b) in known.items()]
    part = replace(part, lines=(*part.lines, *lines))
    if not known:
        return replace(part, reasons=(*part.reasons, "the scoring command printed no accuracy"))
    if all(within_delta(a or 0.0, b or 0.0, DEFAULT_DELTA_PERCENT) for a, b in known.values()):
        return replace(part, reasons=())
    return replace(part, reasons=(*part.reasons, "and so do the scores: " + "; ".join(lines)))


def _scored(command: Sequence[str], log: Path, target: Path) -> str:
    """Output of the scoring command for one log, kept in ``target``. Raises UserError."""
    words = [word.replace(LOG_PLACEHOLDER, str(log)) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except OSError as error:
        raise UserError(f"accuracy_command: {words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"accuracy_command: did not end within {COMMAND_S} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"accuracy_command: {words[0]} ended with {done.returncode}: {last}")
    target.write_text(done.stdout, encoding="utf-8")
    return done.stdout


def _log_text(answers: Sequence[LoggedAnswer]) -> str:
    entries = (
        AccuracyEntry(test_folder, one.sample_index, one.data, one.token_data, one.token_count)
        for test_folder, one in enumerate(answers)
    )
    return "\n".join([*accuracy_lines(entries), ""])


def _own_verdicts(runs: Mapping[str, Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(runs that we call INVALID, what cannot be said of the others)."""
    invalid, notes = [], []
    for name, path in runs.items():
        summary_path = path / "summary.json"
        if not summary_path.is_file():
            notes.append(f"{path}: has LoadGen's logs alone; only they were judged")
            continue
        require_unchanged(path)
        summary = summary_from_json(summary_path.read_bytes())
        require_sums(path, summary.checksums)
        if summary.valid is False:
            invalid.append(f"the {name} run is INVALID: {summary.invalid_reason}")
    return tuple(invalid), tuple(notes)
