"""compare.html: the sentences first, then tables and plots side by side; opens offline."""

from __future__ import annotations

from typing import Final

from loadgen_service.compare.comparison import Comparison
from loadgen_service.compare.differences import Measured, ScenarioDifference
from loadgen_service.compare.formats import FIGURE_HEAD, FORCED, figure_rows, score_head, score_rows
from loadgen_service.core.stats.latency_heatmap import LatencyGrid
from loadgen_service.core.units import NS_PER_S
from loadgen_service.report.formatting import say_metric, say_verdict
from loadgen_service.report.html.page import (
    COLOURS,
    Axis,
    Banner,
    Bullets,
    Cell,
    Line,
    Page,
    Paragraph,
    Plot,
    Table,
)
from loadgen_service.report.html.plots import TIME, tail_plot
from loadgen_service.report.records_reader import main_series

SLICES_DRAWN: Final = 60
_WORDS: Final = {"faster": "ok", "slower": "fail"}
_IDENTITY: Final = ("model", "sut", "target_qps", "adapter", "workers", "connections", "task")


def render_comparison(found: Comparison) -> str:
    """The whole file."""
    names = " and ".join(system.name for system in found.systems)
    page = Page(f"Comparison of {names}")
    if found.refused:
        page.add(Banner(FORCED, found.refused))
    page.section(
        f"{names}",
        Bullets([*(difference.sentence for difference in found.differences), *found.host_notes]),
        words=f"Everything is compared with {found.first.name}. An interval holds the true change "
        f"with {100 * found.confidence:g} % confidence; where it holds zero, the runs do not show "
        "a difference: that is not proof that there is none, and a longer run shows smaller ones.",
    )
    _systems(page, found)
    for name, measured in found.measured.items():
        _scenario(page, name, measured, [d for d in found.differences if name == d.scenario])
    _scores(page, found)
    _gates(page, found)
    return page.html()


def _systems(page: Page, found: Comparison) -> None:
    rows: list[list[str | Cell]] = []
    for system in found.systems:
        for run in system.every_run:
            summary = run.summary
            verdict = say_verdict(summary.valid, summary.state)
            accuracy = ", ".join(f"{k} {v:.4g}" for k, v in (summary.accuracy or {}).items())
            rows.append(
                [
                    system.name,
                    f"{summary.scenario}, {summary.mode}",
                    Cell(verdict, is_badge=True),
                    say_metric(summary.metric),
                    Cell(accuracy or "-", "text"),
                    Cell(_identity(summary.settings), "text"),
                    Cell(str(run.directory), "text"),
                ]
            )
    text = [Cell(name, "text") for name in ("accuracy", "what was measured", "directory")]
    task = f"Task {found.task.name}: {found.task.title}." if found.task else "No task was named, "
    page.section(
        "Systems and runs",
        Table(["system", "run", "verdict", "measured", *text], rows),
        words=task if found.task else task + "so accuracy was not asked for.",
    )


def _identity(settings: dict[str, object]) -> str:
    known = [(name, settings.get(name)) for name in _IDENTITY]
    said = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in known
        if value not in (None, "", [])
    }
    return "; ".join(f"{name} {value}" for name, value in said.items())


def _scenario(
    page: Page, scenario: str, measured: list[Measured], differences: list[ScenarioDifference]
) -> None:
    curves = [(one.name, one.grid) for one in measured]
    limit = next(
        (f for one in measured for f in one.run.summary.findings if f.name == "latency"), None
    )
    series = main_series(measured[0].run.summary)
    quantile = series.loadgen.target_percentile if series else 0.99
    tables = [_differences(difference) for difference in differences]
    said = f" Every run was judged by {limit.required}." if limit else ""
    page.section(
        scenario,
        *tables,
        page.plot(tail_plot(curves, None, quantile)),
        page.plot(_over_time(curves, quantile)),
        words="Above, the share of answers that took at least so long, down to the last one of "
        "each run: a curve further to the left is faster. Below, the judged percentile over time, "
        f"each run from its own start.{said}",
    )


def _differences(difference: ScenarioDifference) -> Table:
    rows: list[list[str | Cell]] = [
        [*row[:-1], Cell(row[-1], _WORDS.get(row[-1], ""))] for row in figure_rows(difference)
    ]
    head = [*FIGURE_HEAD[:2], difference.first_name, difference.second_name, *FIGURE_HEAD[4:]]
    return Table(head, rows)


def _over_time(curves: list[tuple[str, LatencyGrid]], quantile: float) -> Plot:
    lines, shares = [], [(index + 0.5) / SLICES_DRAWN for index in range(SLICES_DRAWN)]
    longest_s = max(grid.end_ns for _, grid in curves) / NS_PER_S
    x_values = sorted({share * grid.end_ns / NS_PER_S for _, grid in curves for share in shares})
    for index, (name, grid) in enumerate(curves):
        values = grid.merged(SLICES_DRAWN).slice_quantiles(quantile)
        known = {share * grid.end_ns / NS_PER_S: v for share, v in zip(shares, values, strict=True)}
        line = [known.get(x) for x in x_values]
        lines.append(Line(name, line, COLOURS[index % len(COLOURS)], gaps=True))
    time = Axis(TIME.label, "s", min=0.0, max=longest_s)
    return Plot(time, Axis(f"p{100 * quantile:g} of latency", "ns"), x_values, lines)


def _scores(page: Page, found: Comparison) -> None:
    if not found.scores:
        page.section("Score", *(Paragraph(note) for note in found.notes))
        return
    page.section(
        "Score",
        Table(score_head(found.scores), score_rows(found.scores)),
        Bullets(found.notes),
        words=f"Each figure over that of {found.scores[0].reference}, turned so that more than 1 "
        "is better, and their geometric mean. The parts say more than the score.",
    )


def _gates(page: Page, found: Comparison) -> None:
    if not found.gates:
        return
    rows: list[list[str | Cell]] = [
        [
            gate.condition,
            Cell("FAIL" if gate.failed else "ok", "fail" if gate.failed else "ok"),
            Cell(gate.words, "text"),
        ]
        for gate in found.gates
    ]
    page.section("Conditions", Table(["fail if", "", ""], rows),
                 words="What --fail-if asked for.")  # fmt: skip
