"""A whole comparison: systems, refusals, differences, scores and gates, for every output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadgen_service.compare.differences import Comparer, Measured, ScenarioDifference, measure
from loadgen_service.compare.gate import Condition, GateResult, evaluate
from loadgen_service.compare.score import Score, figures_of, scores
from loadgen_service.compare.systems import System, common_scenarios, refusals
from loadgen_service.compare.task import Task
from loadgen_service.core.stats.bootstrap import CONFIDENCE
from loadgen_service.core.verdict.findings.notes import contention_notes
from loadgen_service.errors import UserError


@dataclass(slots=True)
class Comparison:
    """``refused``: why the runs are not comparable, where they were compared by force."""

    systems: list[System]
    task: Task | None
    confidence: float
    refused: list[str]
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    differences: list[ScenarioDifference] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    host_notes: list[str] = field(default_factory=list)
    """Hosts of workers that did not have their processors to themselves."""
    gates: list[GateResult] = field(default_factory=list)

    @property
    def gate_failed(self) -> bool:
        """Whether a condition of ``--fail-if`` holds anywhere."""
        return any(gate.failed for gate in self.gates)

    @property
    def first(self) -> System:
        """What the others are compared with."""
        return self.systems[0]


def compare_systems(
    systems: Sequence[System],
    task: Task | None = None,
    conditions: Sequence[Condition] = (),
    reference: str = "",
    confidence: float = CONFIDENCE,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Compare every system with the first one.

    ``reference``: name of the system that scores 1; empty: the task's reference, else the first.
    Raises UserError naming every reason why the runs are not comparable, unless ``force`` is given.
    """
    if len(systems) < 2:
        raise UserError("name at least two systems: loadgen compare DIR DIR")
    refused = refusals(systems, task)
    if refused and not force:
        raise UserError(f"not comparable: {'; '.join(refused)} (--force compares and marks it)")
    found = Comparison(list(systems), task, confidence, refused)
    comparer = Comparer(confidence)
    for name in common_scenarios(systems):
        say(f"reading {len(systems)} runs of {name}")
        measured = [measure(system.name, system.runs[name]) for system in systems]
        found.measured[name] = measured
        found.differences += [comparer.compare(measured[0], other) for other in measured[1:]]
    found.host_notes = _host_notes(systems)
    _score(found, reference)
    found.gates = evaluate(conditions, systems)
    return found


def _host_notes(systems: Sequence[System]) -> list[str]:
    return [
        f"{system.name}, {name}: {note}"
        for system in systems
        for name, run in system.runs.items()
        if run.series is not None
        for note in contention_notes(run.series.workers)
    ]


def _score(found: Comparison, reference: str) -> None:
    by_name = {system.name: system for system in found.systems}
    if reference and reference not in by_name:
        raise UserError(
            f"--reference {reference}: no such system; name one of {', '.join(by_name)}"
        )
    if not reference and found.task and found.task.reference:
        name = found.task.reference.name
        figures = {str(key): value for key, value in found.task.reference.figures.items()}
    else:
        name = reference or found.first.name
        figures = figures_of(by_name[name])
    found.scores, found.notes = scores(found.systems, name, figures)
    if not found.scores:
        found.notes.append(f"no score: no scenario has a figure in every system and in {name}")
