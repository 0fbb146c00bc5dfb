"""``loadgen submission OUT``: builds an MLPerf submission folder, and says what it still lacks.

With ``--check`` it judges a folder that is there; with ``--template`` it prints a system
description with every field.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadgen_service.cli.flags import OneLineParser
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.mlperf.benchmarks import ROUNDS
from loadgen_service.mlperf.conf.settings import NEWEST_ROUND
from loadgen_service.mlperf.submission.checks import check_submission
from loadgen_service.mlperf.submission.layout import (
    Miss,
    RunLogs,
    SubmissionPlan,
    audit_scenario,
    build_submission,
    read_run,
)
from loadgen_service.mlperf.submission.rules import RULES, directory_name
from loadgen_service.mlperf.submission.system_description import CATEGORIES, DIVISIONS, template


def main(argv: Sequence[str]) -> int:
    """Build and check, or check, or print a template; 0 only for a folder without a miss."""
    given = _parser().parse_strictly(argv)
    if given.template:
        fields = template(given.division or "closed", given.category, given.submitter)
        print(json.dumps(fields, indent=2))
        return 0
    if not given.out:
        raise SettingsError("out: name the folder, as `loadgen submission OUT --run DIR`")
    root = Path(given.out)
    if not given.check:
        build_submission(_plan(given, root))
    elif not root.is_dir():
        raise UserError(f"out {root}: no such folder to check")
    misses = check_submission(root, given.round, given.category)
    _show(root, misses, as_json=given.json)
    return 1 if misses else 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="loadgen submission", description=__doc__, allow_abbrev=False)
    parser.add_argument("out", nargs="?", default="", metavar="OUT", help="submission folder")
    what = parser.add_argument_group("what")
    what.add_argument("--check", action="store_true", help="only check what is in OUT")
    what.add_argument("--template", action="store_true", help="only print a system description "
                      "with every field, for --division")  # fmt: skip
    what.add_argument("--json", action="store_true", help="print the misses as JSON")
    what.add_argument("--round", default=NEWEST_ROUND, choices=list(ROUNDS), help="whose seeds")
    parts = parser.add_argument_group("parts of the folder")
    add = parts.add_argument
    add("--division", default="", choices=["", *DIVISIONS], metavar="{closed,open,network}")
    add("--category", default="", choices=["", *CATEGORIES], metavar="{available,preview,rdi}")
    add("--submitter", default="", metavar="NAME", help="else the system description's")
    add("--system", default="", metavar="FILE", help="system description, JSON; see --template")
    add("--run", action="append", default=[], metavar="DIR", help="run directory; again for more")
    add("--audit", action="append", default=[], metavar="DIR", help="folder TESTnn of an audit")
    add("--benchmark", default="", metavar="NAME", help="folder of the results; else by the runs' "
        "--mlperf-model")  # fmt: skip
    add("--task", default="", metavar="NAME", help="open: official benchmark whose task it is")
    add("--measurements", default="", metavar="FILE", help="measurements.json")
    add("--src", default="", metavar="DIR", help="code to submit")
    add("--readme", default="", metavar="FILE", help="README.md of the results; else a made one")
    return parser


def _plan(given: argparse.Namespace, root: Path) -> SubmissionPlan:
    """Judge the flags. Raises UserError naming the one that is missing or wrong."""
    for name, hint in {
        "division": "closed, open or network",
        "category": "available, preview or rdi",
        "system": "a file; make one with --template",
        "run": "a finished run's directory",
    }.items():
        if not getattr(given, name):
            raise SettingsError(f"{name}: give --{name} ({hint})")
    system = _json_file("system", given.system)
    runs = [read_run(Path(path)) for path in given.run]
    submitter = given.submitter or str(system.get("submitter") or "")
    if not submitter:
        raise SettingsError("submitter: give --submitter, or the field in the system description")
    benchmark = given.benchmark or _benchmark_of(runs)
    audits: dict[str, list[Path]] = {}
    for path in map(Path, given.audit):
        audits.setdefault(audit_scenario(path), []).append(path)
    if given.measurements:
        _json_file("measurements", given.measurements)
    return SubmissionPlan(
        root=root,
        division=given.division,
        category=given.category,
        submitter=_folder_name("submitter", submitter),
        system_name=_system_name(given.system, system),
        system=system,
        benchmark=_folder_name("benchmark", benchmark),
        task=_task(given, benchmark),
        runs=runs,
        audits=audits,
        measurements=_existing("measurements", given.measurements),
        source=_existing("src", given.src, folder=True),
        readme=_existing("readme", given.readme),
    )


def _benchmark_of(runs: Sequence[RunLogs]) -> str:
    named = {directory_name(run.benchmark) for run in runs if run.benchmark}
    if len(named) != 1:
        said = "their runs name none" if not named else f"runs are of {', '.join(sorted(named))}"
        raise SettingsError(f"benchmark: {said}; give --benchmark, such as --benchmark resnet")
    return named.pop()


def _task(given: argparse.Namespace, benchmark: str) -> str:
    task: str = given.task or directory_name(benchmark)
    if given.task and given.division != "open":
        raise SettingsError("task: only the open division maps a model of its own to a task")
    if task not in RULES and given.division == "open":
        raise SettingsError(f"task: no benchmark {task}; give --task, one of {', '.join(RULES)}")
    return task


def _system_name(path: str, system: dict[str, Any]) -> str:
    name = str(system.get("system_name") or "") or Path(path).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "system"


def _folder_name(flag: str, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SettingsError(
            f"{flag} {name!r}: becomes a folder; use letters, digits, '.', '_', '-'"
        )
    return name


def _json_file(flag: str, path: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror}; name a JSON file") from None
    except ValueError as error:
        raise UserError(f"{flag} {path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{flag} {path}: must be one JSON object")
    return found


def _existing(flag: str, path: str, folder: bool = False) -> Path | None:
    if not path:
        return None
    found = Path(path)
    if not (found.is_dir() if folder else found.is_file()):
        raise UserError(f"{flag} {path}: no such {'folder' if folder else 'file'}")
    return found


def _show(root: Path, misses: Sequence[Miss], as_json: bool) -> None:
    if as_json:
        content = [{"path": m.path, "text": m.text, "ours": m.ours} for m in misses]
        print(json.dumps({"valid": not misses, "misses": content}, indent=2))
        return
    if not misses:
        print(f"{root}: nothing is missing")
        return
    print(f"{root}: NOT VALID as a submission, {len(misses)} misses")
    for miss in misses:
        print(f"  {miss}")
