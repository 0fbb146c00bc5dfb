"""Builds a submission folder out of run and audit directories (layout of rounds v6.0 and v6.1).

Copies, truncates and describes; whether the result is valid is submission_checks' business.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen_service.errors import RunError, UserError
from loadgen_service.mlperf.audit.table import TESTS
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE
from loadgen_service.mlperf.submission.paths import MEASUREMENT_FIELDS, ResultFolder, read_json
from loadgen_service.mlperf.submission.runs import (
    RunLogs,
    accuracy_text,
    by_scenario,
    readme_text,
    user_conf_text,
)

KEPT_CHARACTERS: Final = 4096
"""Of an accuracy log's beginning and of its end, as the official truncation keeps."""


@dataclass(frozen=True, slots=True)
class SubmissionPlan:
    """What to build. ``system``: the description as given; ``task``: the official benchmark.

    ``audits``: folders ``TESTnn`` of `loadgen audit`, by scenario folder. Paths of ``None`` are
    made from the runs, or left out where nothing can be made.
    """

    root: Path
    division: str
    category: str
    submitter: str
    system_name: str
    system: Mapping[str, Any]
    benchmark: str
    task: str
    runs: Sequence[RunLogs]
    audits: Mapping[str, Sequence[Path]]
    measurements: Path | None = None
    source: Path | None = None
    readme: Path | None = None


def build_submission(plan: SubmissionPlan) -> list[ResultFolder]:
    """Write the folder; several calls may add benchmarks and scenarios to one folder.

    Raises UserError for two runs of one kind and a result that is there already, RunError where
    the disk refuses.
    """
    scenarios = by_scenario(plan.runs)
    results = {name: _result_folder(plan, name) for name in scenarios}
    for result in results.values():
        if result.folder.exists():
            raise UserError(f"{result.folder}: is there already; remove it or name another folder")
    strange = set(plan.audits) - set(results)
    if strange:
        raise UserError(f"audit: is of scenario {min(strange)}, which no --run is of")
    try:
        for name, result in results.items():
            _write_result(plan, result, scenarios[name])
            for audit in plan.audits.get(name, ()):
                _copy_audit(audit, result.folder / audit.name)
        _write_organisation(plan, next(iter(results.values())))
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}; free some space") from None
    return list(results.values())


def system_of(plan: SubmissionPlan) -> dict[str, Any]:
    """The description, with what the command line says where it is empty."""
    known = {"division": plan.division, "status": plan.category, "submitter": plan.submitter}
    return {**plan.system, **{k: v for k, v in known.items() if not plan.system.get(k)}}


def truncated(content: bytes) -> bytes:
    """An accuracy log as submissions hold it: whole if short, else its two ends."""
    text = content.decode("utf-8", errors="replace")
    if len(content) <= 2 * KEPT_CHARACTERS:
        return content
    return f"{text[:KEPT_CHARACTERS]}\n\n...\n\n{text[-KEPT_CHARACTERS:]}".encode()


def audit_scenario(folder: Path) -> str:
    """Scenario folder of an audit's ``TESTnn``, by its log. Raises UserError for another folder."""
    from loadgen_service.mlperf.audit.logs import read_detail_log

    if folder.name not in TESTS or not folder.is_dir():
        raise UserError(f"audit {folder}: name the folder TESTnn that `loadgen audit` wrote")
    return read_detail_log(folder / "performance" / "run_1").scenario.lower()


def _result_folder(plan: SubmissionPlan, scenario: str) -> ResultFolder:
    return ResultFolder(
        plan.root,
        plan.division,
        plan.submitter,
        plan.system_name,
        plan.benchmark,
        plan.task,
        scenario,
    )


def _write_result(
    plan: SubmissionPlan, result: ResultFolder, halves: Mapping[str, RunLogs]
) -> None:
    result.folder.mkdir(parents=True)
    first = halves.get("performance") or next(iter(halves.values()))
    _write(result.folder / "user.conf", user_conf_text(first))
    readme = readme_text(first, plan.benchmark, plan.task)
    if plan.readme is not None:
        readme = plan.readme.read_text(encoding="utf-8")
    _write(result.folder / "README.md", readme)
    given = read_json(plan.measurements) if plan.measurements else None
    _write_json(result.folder / "measurements.json", {**dict.fromkeys(MEASUREMENT_FIELDS, ""),
                                                     **(given or {})})  # fmt: skip
    if "performance" in halves:
        _copy_logs(halves["performance"].path, result.performance)
    if "accuracy" in halves:
        run = halves["accuracy"]
        _copy_logs(run.path, result.accuracy)
        _copy_truncated(run.path / ACCURACY_FILE, result.accuracy, accuracy_text(run))
    for kind, run in halves.items():
        if run.facts:
            result.facts.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.path / "summary.json", result.facts / f"{kind}.summary.json")


def _copy_logs(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in (SUMMARY_FILE, DETAIL_FILE):
        shutil.copyfile(source / name, target / name)


def _copy_truncated(source: Path, folder: Path, score: str) -> None:
    """The log's two ends, and its hash under the score. Without a log: the score alone."""
    content = source.read_bytes() if source.is_file() else None
    if content is not None:
        (folder / ACCURACY_FILE).write_bytes(truncated(content))
    digest = f"hash={hashlib.sha256(content).hexdigest()}\n" if content is not None else ""
    if score:
        _write(folder / "accuracy.txt", score + digest)


def _copy_audit(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    log = target / "accuracy" / ACCURACY_FILE
    if log.is_file():
        content = log.read_bytes()
        log.write_bytes(truncated(content))
        _write(log.with_name("accuracy.txt"), f"hash={hashlib.sha256(content).hexdigest()}\n")


def _write_organisation(plan: SubmissionPlan, result: ResultFolder) -> None:
    folder = result.organisation
    (folder / "systems").mkdir(exist_ok=True)
    _write_json(folder / "systems" / f"{plan.system_name}.json", system_of(plan))
    if result.is_open:
        path = folder / "model_mapping.json"
        _write_json(path, {**(read_json(path) or {}), plan.benchmark: plan.task})
    if plan.source is not None:
        shutil.copytree(
            plan.source,
            folder / "src",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", ".git"),
        )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
