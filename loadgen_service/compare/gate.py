"""The regression gate: ``latency_ns.p99 > +5%`` as a condition on how a figure changed. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from loadgen_service.compare.systems import System, common_scenarios
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.verdict.findings.finding import say_ns
from loadgen_service.errors import UserError

_FORM: Final = re.compile(
    r"\s*(?P<path>[A-Za-z_][\w.]*)\s*(?P<sign>>=|<=|>|<)\s*(?P<number>[+-]\d+(?:\.\d+)?)\s*%\s*"
)
_SIGNS: Final = {
    ">": lambda change, limit: change > limit,
    ">=": lambda change, limit: change >= limit,
    "<": lambda change, limit: change < limit,
    "<=": lambda change, limit: change <= limit,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """``path`` of summary.json, how it is compared, and the change in percent."""

    text: str
    path: str
    sign: str
    percent: float

    def holds(self, change_percent: float) -> bool:
        """Whether a change meets the condition, which fails the gate."""
        return bool(_SIGNS[self.sign](change_percent, self.percent))


@dataclass(frozen=True, slots=True)
class GateResult:
    """One condition for one system in one scenario; ``failed`` is what ``--fail-if`` asked for."""

    condition: str
    system: str
    scenario: str
    failed: bool
    words: str


def parse_condition(text: str) -> Condition:
    """``PATH > +5%`` (also ``<``, ``>=``, ``<=``; a signed percentage). Raises UserError."""
    found = _FORM.fullmatch(text)
    if not found:
        raise UserError(
            f"--fail-if {text!r}: must be FIGURE > +N% or FIGURE < -N%, "
            "such as 'latency_ns.p99 > +5%'"
        )
    return Condition(text.strip(), found["path"], found["sign"], float(found["number"]))


def evaluate(conditions: Sequence[Condition], systems: Sequence[System]) -> list[GateResult]:
    """Every condition for every system but the first, in every common scenario.

    A figure that is unknown or infinite in one of the two fails the gate: nobody can say that it
    did not change. Raises UserError for a figure that no summary has.
    """
    first = systems[0]
    return [
        _result(condition, name, first.runs[name].summary, other)
        for condition in conditions
        for name in common_scenarios(systems)
        for other in systems[1:]
    ]


def _result(condition: Condition, scenario: str, first: Summary, other: System) -> GateResult:
    before = figure_at(first, condition)
    after = figure_at(other.runs[scenario].summary, condition)
    where = f"{scenario}, {other.name}"
    if before is None or after is None or before <= 0:
        words = f"{where}: {condition.path} is unknown or infinite in one of the runs"
        return GateResult(condition.text, other.name, scenario, True, words)
    change = 100 * (after / before - 1)
    shown = " to ".join(_said(condition.path, value) for value in (before, after))
    words = f"{where}: {condition.path} changed by {change:+.2f} % ({shown})"
    return GateResult(condition.text, other.name, scenario, condition.holds(change), words)


def _said(path: str, value: float) -> str:
    return say_ns(round(value)) if "_ns" in path else f"{value:,.6g}"


def figure_at(summary: Summary, condition: Condition) -> float | None:
    """The number at a dotted path; None for null. Raises UserError where there is no such field."""
    found: object = summary
    for name in condition.path.split("."):
        if found is None:
            return None
        if name not in _fields(found):
            known = ", ".join(sorted(_fields(found))) or "nothing"
            raise UserError(f"--fail-if: summary.json has no {condition.path} ({name}: {known})")
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise UserError(f"--fail-if: {condition.path} is not a number; name one of its parts")
    return float(found)


def _fields(found: object) -> list[str]:
    if isinstance(found, BaseModel):
        return list(type(found).model_fields)
    if dataclasses.is_dataclass(found):
        return [field.name for field in dataclasses.fields(found)]
    return [str(key) for key in found] if isinstance(found, dict) else []
