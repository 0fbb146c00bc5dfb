"""A comparison in plain text, in Markdown and as JUnit XML: the same rows, three ways."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

from loadgen_service.compare.comparison import Comparison
from loadgen_service.compare.differences import ScenarioDifference
from loadgen_service.compare.score import Score
from loadgen_service.report.formatting import say_ns, say_rate, table

FORCED: Final = "FORCED: these runs are not comparable"
FIGURE_HEAD: Final = ("scenario", "figure", "first", "second", "change", "")


def figure_rows(difference: ScenarioDifference) -> list[list[str]]:
    """A row a figure: both values, the change with its interval, and the word for it."""
    return [
        [
            difference.scenario,
            figure.name,
            figure.say(figure.first),
            figure.say(figure.second),
            figure.say_change(),
            figure.note or ("" if difference.offered else figure.word),
        ]
        for figure in difference.figures
    ]


def score_rows(scores: list[Score]) -> list[list[str]]:
    """A row a system: its score, and each part as the ratio with both figures."""
    return [[score.system, f"{score.value:.4g}", *(_part(score))] for score in scores]


def _part(score: Score) -> list[str]:
    return [
        f"{part.ratio:.4g} ({_value(part.value, part.unit)} / {_value(part.reference, part.unit)})"
        for part in score.parts
    ]


def _value(value: float, unit: str) -> str:
    return say_ns(round(value)) if unit == "ns" else f"{say_rate(value)}/s"


def score_head(scores: list[Score]) -> list[str]:
    """Column names of :func:`score_rows`."""
    return ["system", "score", *(part.scenario for part in scores[0].parts)]


def said(found: Comparison) -> list[str]:
    """The sentences, one a system and scenario; refusals first where they were overruled."""
    forced = [FORCED, *(f"  {line}" for line in found.refused)] if found.refused else []
    return [*forced, *(difference.sentence for difference in found.differences), *found.host_notes]


def as_text(found: Comparison) -> str:
    """What the terminal shows."""
    lines = said(found)
    for difference in found.differences:
        names = [*FIGURE_HEAD[:2], difference.first_name, difference.second_name, *FIGURE_HEAD[4:]]
        lines += ["", *table([names, *figure_rows(difference)])]
    if found.scores:
        lines += ["", f"score against {found.scores[0].reference}; more than 1 is better"]
        lines += table([score_head(found.scores), *score_rows(found.scores)])
    lines += [f"  {note}" for note in found.notes]
    if found.gates:
        lines += ["", *(_gate_line(g.failed, g.condition, g.words) for g in found.gates)]
    return "\n".join(lines) + "\n"


def _gate_line(failed: bool, condition: str, words: str) -> str:
    return f"{'FAIL' if failed else 'ok  '} --fail-if '{condition}': {words}"


def as_markdown(found: Comparison) -> str:
    """The same for a pull request or a wiki."""
    lines = ["# Comparison", ""]
    if found.refused:
        lines += [f"**{FORCED}:**", *(f"- {_cell(line)}" for line in found.refused), ""]
    lines += [f"- {_cell(difference.sentence)}" for difference in found.differences]
    lines += [f"- {_cell(note)}" for note in found.host_notes]
    for difference in found.differences:
        names = [*FIGURE_HEAD[:2], difference.first_name, difference.second_name, *FIGURE_HEAD[4:]]
        lines += ["", *_grid([names, *figure_rows(difference)])]
    if found.scores:
        lines += [
            "",
            f"Score against {_cell(found.scores[0].reference)}; more than 1 is better.",
            "",
        ]
        lines += _grid([score_head(found.scores), *score_rows(found.scores)])
    lines += ["", *(f"- {_cell(note)}" for note in found.notes)] if found.notes else []
    if found.gates:
        rows = [[g.condition, "FAIL" if g.failed else "ok", g.words] for g in found.gates]
        lines += ["", *_grid([["--fail-if", "", ""], *rows])]
    return "\n".join(lines) + "\n"


def _grid(rows: list[list[str]]) -> list[str]:
    texts = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [texts[0], "|" + "---|" * len(rows[0]), *texts[1:]]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def as_junit(found: Comparison) -> str:
    """A test case a condition and system, failed where the condition holds.

    Beside them one case a difference, which tells and never fails, and one for the refusals.
    """
    suite = ElementTree.Element("testsuite", name="loadgen compare")
    for difference in found.differences:
        case = _case(suite, f"{difference.scenario}.{difference.second_name}", "difference")
        ElementTree.SubElement(case, "system-out").text = difference.sentence
    for gate in found.gates:
        case = _case(suite, f"{gate.scenario}.{gate.system}", f"fail if {gate.condition}")
        if gate.failed:
            ElementTree.SubElement(case, "failure", message=gate.words).text = gate.words
    if found.refused:
        case = _case(suite, "comparable", FORCED)
        ElementTree.SubElement(case, "failure", message=FORCED).text = "\n".join(found.refused)
    cases, failures = suite.findall("testcase"), suite.findall("testcase/failure")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(len(failures)))
    suite.set("errors", "0")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, group: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=f"compare.{group}", name=name)
