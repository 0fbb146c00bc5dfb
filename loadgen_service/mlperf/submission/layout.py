"""Builds a submission folder out of run and audit directories (layout of rounds v6.0 and v6.1).

Copies, truncates and describes; whether the result is valid is submission_checks' business.

Where a submission folder keeps what, and what a check says of it (specification 8.1).

Paths and names only: reads no log and judges nothing.

What a run directory contributes to a submission: its kind, scenario, score and settings.

Reads LoadGen's logs and, where it is there, our summary; builds and judges nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen_service.checksums import require_sums, require_unchanged
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError, UserError
from loadgen_service.mlperf.audit.logs import DetailLog, has_logs, read_detail_log
from loadgen_service.mlperf.audit.table import TESTS
from loadgen_service.mlperf.conf.keys import OFFICIAL_SCENARIO
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE
from loadgen_service.mlperf.submission.rules import RULES, BenchmarkRule

KINDS: Mapping[str, tuple[str, ...]] = {
    "PerformanceOnly": ("performance",),
    "FindPeakPerformance": ("performance",),
    "AccuracyOnly": ("accuracy",),
    "SubmissionRun": ("performance", "accuracy"),
}
"""LoadGen's mode -> which halves of a result the run gives."""


@dataclass(frozen=True, slots=True)
class RunLogs:
    """One run directory. ``facts``: its summary.json, empty where another program ran it."""

    path: Path
    log: DetailLog
    facts: Mapping[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Halves of a result that it gives."""
        return KINDS.get(self.log.text("effective_test_mode"), ())

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the run, by our names; empty where nothing says them."""
        found = self.facts.get("settings")
        return found if isinstance(found, dict) else {}

    @property
    def benchmark(self) -> str:
        """LoadGen's name of the benchmark; empty where none was named."""
        return str(self.settings.get("mlperf_model") or "")

    @property
    def scenario(self) -> str:
        """The scenario's folder, as ``offline``; ``interactive`` for such a benchmark."""
        if self.benchmark.endswith("-interactive") and self.log.scenario == "Server":
            return "interactive"
        return self.log.scenario.lower()


def read_run(path: Path) -> RunLogs:
    """A run directory. Raises UserError where it holds no logs of LoadGen."""
    if not has_logs(path):
        raise UserError(f"run {path}: holds no mlperf_log_detail.txt and summary; name a finished "
                        "run of one of LoadGen's scenarios")  # fmt: skip
    require_unchanged(path)
    run = RunLogs(path, read_detail_log(path), read_json(path / "summary.json") or {})
    require_sums(path, str(run.facts.get("checksums") or ""))
    if not run.kinds or not run.scenario:
        raise UserError(f"run {path}: its log says neither scenario nor mode; is it finished?")
    return run


def by_scenario(runs: Sequence[RunLogs]) -> dict[str, dict[str, RunLogs]]:
    """Scenario folder -> half of the result -> run. Raises UserError for two of the same."""
    found: dict[str, dict[str, RunLogs]] = {}
    for run in runs:
        halves = found.setdefault(run.scenario, {})
        for kind in run.kinds:
            if kind in halves:
                raise UserError(
                    f"run {run.path}: {halves[kind].path} is a {kind} run of {run.scenario} too; "
                    "a result has one of each"
                )
            halves[kind] = run
    return found


def accuracy_text(run: RunLogs) -> str:
    """Content of accuracy.txt: the run's own, else our top-1 in the words of ImageNet's script."""
    own = run.path / "accuracy.txt"
    if own.is_file():
        return own.read_text(encoding="utf-8", errors="replace").rstrip() + "\n"
    scores = run.facts.get("accuracy") or {}
    if "top1" not in scores or not scores.get("count"):
        return ""
    total = int(scores["count"])
    good = round(scores["top1"] * total)
    return f"accuracy={100 * good / total:.3f}%, good={good}, total={total}\n"


def user_conf_text(run: RunLogs) -> str:
    """The user.conf of a run: the file that it read, else one made from its settings."""
    named = Path(str(run.settings.get("user_conf") or ""))
    if str(named) != "." and named.is_file():
        return named.read_text(encoding="latin-1")
    scenario = OFFICIAL_SCENARIO.get(str(run.settings.get("scenario") or ""), run.log.scenario)
    lines = [f"*.{scenario}.{key} = {value}" for key, value in _conf_values(run).items()]
    return "\n".join(["# from the settings of the run", *lines, ""]) if lines else ""


def _conf_values(run: RunLogs) -> dict[str, object]:
    """What a submitter may choose, by LoadGen's key."""
    asked = run.settings
    names = {"min_duration_ms": "min_duration", "min_query_count": "min_query_count"}
    if run.log.scenario in ("Server", "Offline"):
        names["target_qps"] = "target_qps"
    else:
        names["expected_latency_ms"] = "target_latency"
    if run.log.scenario == "Server":
        names["target_latency_ms"] = "target_latency"
    found = {key: asked[name] for name, key in names.items() if asked.get(name)}
    whole = {"target_latency"} if run.log.scenario == "Server" else set()
    return {key: int(float(str(v))) if key in whole else v for key, v in found.items()}


def readme_text(run: RunLogs, benchmark: str, task: str) -> str:
    """README.md of a result: what it is and how to measure it again."""
    own = {name: field.default for name, field in Settings.model_fields.items()}
    differing = {
        name: value
        for name, value in run.settings.items()
        if name in own and value not in (own[name], [], "") and name not in ("out", "header")
    }
    flags = [f"  --{name.replace('_', '-')} {_shown(value)}" for name, value in differing.items()]
    lines = [f"# {benchmark}, {run.scenario}", ""]
    if task != benchmark:
        lines += [f"Task, data set and rules: those of {task}.", ""]
    lines += [f"SUT: {run.log.text('sut_name') or 'unnamed'}.", "", "Measured with:", ""]
    return "\n".join([*lines, "```", " \\\n".join(["loadgen run", *flags]), "```", ""])


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


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
