"""What a run directory contributes to a submission: its kind, scenario, score and settings.

Reads LoadGen's logs and, where it is there, our summary; builds and judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen_service.checksums import require_sums, require_unchanged
from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.mlperf.audit.logs import DetailLog, has_logs, read_detail_log
from loadgen_service.mlperf.conf.keys import OFFICIAL_SCENARIO
from loadgen_service.mlperf.submission.paths import read_json

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
