"""What was measured, kept: results.json, and the table that is made of it and nothing else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from harness import Result, number

Environment = Mapping[str, Any]
"""``machine`` and ``versions``."""


class OtherEnvironment(Exception):
    """The rows that are kept were measured elsewhere, or against other versions."""


def keep(
    path: Path,
    results: Sequence[Result],
    where: Environment,
    order: Sequence[str],
    is_whole: bool,
) -> list[Result]:
    """Write ``results`` and, of the other groups, what is there; returns all, in ``order``.

    Rows of another environment are dropped where everything was measured (``is_whole``); where only
    some groups were, raises OtherEnvironment and writes nothing.
    """
    measured = {result.group for result in results}
    others = [
        row
        for row in rows_of(path, where, is_whole)
        if row.group in order and row.group not in measured
    ]
    rows = sorted([*results, *others], key=lambda row: order.index(row.group))
    content = {**where, "rows": [{**asdict(row), "is_met": row.is_met} for row in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return rows


def rows_of(path: Path, where: Environment, is_whole: bool = False) -> list[Result]:
    """What is kept there; ``is_whole`` and OtherEnvironment as in ``keep``."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if any(content.get(name) != value for name, value in where.items()):
        if is_whole:
            return []
        raise OtherEnvironment(f"{path.name} is of {_difference(content, where)}; run `make bench`")
    names = {field.name for field in fields(Result)}
    return [Result(**{k: v for k, v in row.items() if k in names}) for row in content["rows"]]


def _difference(content: Mapping[str, Any], where: Environment) -> str:
    for part, ours in where.items():
        theirs = content.get(part, {})
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                return f"{name} {theirs.get(name)}, here it is {ours.get(name)}"
    return "another environment"


def write_table(page: Path, rows: Sequence[Result], where: Environment) -> None:
    """Put the table, and when and where it was measured, between the markers of the page."""
    block = f"<!-- table -->\n{table(rows)}\n\n{caption(rows, where)}\n<!-- /table -->"
    text = page.read_text()
    page.write_text(re.sub(r"<!-- table -->.*<!-- /table -->", lambda _: block, text, flags=re.S))


def caption(rows: Sequence[Result], where: Environment) -> str:
    """The machine, and when each group was measured."""
    machine = where["machine"]
    times = [
        f"{group} {_minute(max(row.measured_unix_s for row in same))}"
        for group, same in groupby(rows, lambda row: row.group)
    ]
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}. "
        f"Measured until (UTC): {', '.join(times)}."
    )


def _minute(unix_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(unix_s))


def table(results: Sequence[Result]) -> str:
    """The Markdown table."""
    lines = [
        "| what | against | ours | theirs | unit | ratio (spread) | rounds | target | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, results)])


def _line(one: Result) -> str:
    if one.ratio is None:
        return (
            f"| {one.what} | {one.peer} | {number(one.ours_figure)} | | {one.unit} | | | "
            f"{number(one.target)} | not measured: {one.reason} |"
        )
    spread = f"{one.ratio:.2f} ({one.ratio_min:.2f} to {one.ratio_max:.2f})"
    verdict = {True: "met", False: "**missed**", None: ""}[one.is_met]
    beside = "; ".join(f"{name} {number(value)}" for name, value in one.beside.items())
    return (
        f"| {one.what} | {one.peer} | {number(one.ours_figure)} | {number(one.peer_figure)} | "
        f"{one.unit} | {spread} | {one.rounds} | "
        f"{number(one.target)} | {verdict}{'; ' if beside and verdict else ''}{beside} |"
    )
