"""Which runs may be compared: reads run directories, groups them by system, names what forbids it.

Measures nothing; a refusal says which run and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen_service.checksums import require_sums, require_unchanged
from loadgen_service.compare.task import SUFFIX, Task
from loadgen_service.core.plan.plan import workload_fields
from loadgen_service.core.summary.mixed import MIXED_FILE
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.errors import UserError
from loadgen_service.report.formatting import say_verdict
from loadgen_service.report.records_reader import main_series

_SEEDS: Final = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run: where it lies and what its summary says."""

    directory: Path
    summary: Summary

    @property
    def series(self) -> SeriesSummary | None:
        """The series that speaks for the run."""
        return main_series(self.summary)

    @property
    def is_timed(self) -> bool:
        """Whether it measured speed; an accuracy run did not."""
        return self.series is not None and self.series.kind == "performance"


@dataclass(slots=True)
class System:
    """What is compared: a name, a timed run for each scenario, and its accuracy if measured."""

    name: str
    runs: dict[str, Run] = field(default_factory=dict)
    accuracy_runs: list[Run] = field(default_factory=list)

    def accuracy(self, metric: str) -> float | None:
        """The worst accuracy that any of its runs shows; None where none was measured."""
        found = [
            run.summary.accuracy[metric]
            for run in self.accuracy_runs
            if run.summary.accuracy and metric in run.summary.accuracy
        ]
        return min(found, default=None)

    @property
    def every_run(self) -> list[Run]:
        """Timed runs, then those that only measured accuracy."""
        timed = list(self.runs.values())
        return timed + [run for run in self.accuracy_runs if run not in timed]


def read_run(directory: Path) -> Run:
    """A run directory. Raises UserError naming it where it holds no finished run."""
    if (directory / MIXED_FILE).is_file():
        raise UserError(
            f"{directory}: holds a mixed run; compare its streams one by one: "
            f"{directory / 'streams'}/NAME"
        )
    path = directory / "summary.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{path}: {reason}; name the directory of a finished run") from None
    try:
        summary = summary_from_json(text)
    except UserError as error:
        raise UserError(f"{directory}: {error}") from None
    require_unchanged(directory)
    require_sums(directory, summary.checksums)
    return Run(directory, summary)


def read_systems(arguments: Sequence[str]) -> list[System]:
    """Systems from ``DIR`` (a system each) and ``NAME=DIR`` (equal names are one system).

    Raises UserError for a directory without a finished run, and for two timed runs of one scenario
    in a system.
    """
    systems: dict[str, System] = {}
    for argument in arguments:
        name, named, folder = argument.partition("=")
        # a directory whose name holds "=" is still a directory
        if not named or Path(argument).is_dir():
            name, folder = _free_name(Path(argument).resolve().name, systems), argument
        _add(systems.setdefault(name, System(name)), read_run(Path(folder)))
    return list(systems.values())


def _free_name(name: str, taken: Iterable[str]) -> str:
    known, number, free = set(taken), 1, name
    while free in known:
        number += 1
        free = f"{name} ({number})"
    return free


def _add(system: System, run: Run) -> None:
    if run.summary.accuracy is not None:
        system.accuracy_runs.append(run)
    if not run.is_timed:
        if run.summary.accuracy is None:
            system.accuracy_runs.append(run)
        return
    known = system.runs.setdefault(run.summary.scenario, run)
    if known is not run:
        raise UserError(
            f"{run.directory}: {system.name} has a {run.summary.scenario} run already, "
            f"{known.directory}; give one of them another NAME="
        )


def common_scenarios(systems: Sequence[System]) -> list[str]:
    """Scenarios that every system was timed in, in the order of the first one."""
    return [name for name in systems[0].runs if all(name in one.runs for one in systems)]


def refusals(systems: Sequence[System], task: Task | None) -> list[str]:
    """Why these runs cannot be compared, a line each; empty where they can."""
    said = [line for system in systems for run in system.every_run for line in _unusable(run)]
    if not common_scenarios(systems):
        said.append("no scenario was timed in every system")
    for name in common_scenarios(systems):
        first, *others = [system.runs[name] for system in systems]
        said += [line for other in others for line in _other_workload(first, other)]
    if task:
        said += [line for system in systems for line in _against_task(system, task)]
    return said


def _unusable(run: Run) -> list[str]:
    summary = run.summary
    if summary.valid and summary.state == "DONE":
        return []
    reason = f" ({summary.invalid_reason})" if summary.invalid_reason else ""
    return [f"{run.directory} is {say_verdict(summary.valid, summary.state)}{reason}"]


def _other_workload(first: Run, other: Run) -> list[str]:
    if first.summary.workload_hash == other.summary.workload_hash:
        return []
    one, two = first.summary, other.summary
    names = [*workload_fields(one.scenario), *_SEEDS]
    differing = [name for name in names if one.settings.get(name) != two.settings.get(name)]
    differing += [
        f"dataset {name}"
        for name in ("content_hash", "total_sample_count", "performance_sample_count")
        if getattr(one.dataset, name) != getattr(two.dataset, name)
    ]
    what = ", ".join(differing) or "something that the summaries do not say"
    return [f"{other.directory} is another workload than {first.directory}: {what} differ"]


def _against_task(system: System, task: Task) -> list[str]:
    said = []
    for run in system.every_run:
        settings, data = run.summary.settings, run.summary.dataset
        if task.data_hash and data.content_hash != task.data_hash:
            said.append(f"{run.directory} has other data than task {task.name}: {data.name}")
        recorded = str(settings.get("task") or task.name)
        # a task file's path says nothing of its name; the data's hash was just compared
        if recorded != task.name and not recorded.endswith(SUFFIX):
            said.append(f"{run.directory} was made for task {recorded}, not {task.name}")
    for scenario, run in system.runs.items():
        limits = {str(name): limit for name, limit in task.latency_limits_ms.items()}
        limit, own = limits.get(scenario), run.summary.settings.get("target_latency_ms")
        if limit and own != limit:
            said.append(
                f"{run.directory} has a latency limit of {own} ms; task {task.name}: {limit:g} ms"
            )
    if task.accuracy_target:
        said += _accuracy_short(system, task)
    return said


def _accuracy_short(system: System, task: Task) -> list[str]:
    reached = system.accuracy(task.metric)
    if reached is None:
        return [
            f"{system.name} has no accuracy run for task {task.name}; give one as "
            f"{system.name}=DIR, or run with --mode submission"
        ]
    if reached < task.accuracy_target:
        return [
            f"{system.name} reaches {task.metric} {reached:.4g}; task {task.name} asks for "
            f"{task.accuracy_target:.4g}"
        ]
    return []
