"""``loadgen report DIR...``: the report of a finished run again, or several runs in one table.

The page report.html of each run directory is written again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.atomic_file import atomic_write
from loadgen_service.checksums import replace_sum, require_sums, require_unchanged
from loadgen_service.cli.flags import OneLineParser
from loadgen_service.errors import UserError

if TYPE_CHECKING:
    from loadgen_service.core.summary.mixed import MixedSummary
    from loadgen_service.core.summary.run import Summary

RECORDS_FILE: Final = "records.parquet"


def main(argv: Sequence[str]) -> int:
    """Print, and write the pages; 0 if every run is VALID, else 1."""
    parser = OneLineParser(prog="loadgen report", description=__doc__, allow_abbrev=False)
    parser.add_argument("directory", nargs="+", metavar="DIR", help="run directory")
    parser.add_argument("--json", action="store_true", help="print the summaries as JSON")
    parser.add_argument("--table", action="store_true", help="one table, even for one run")
    given = parser.parse_strictly(argv)
    mixed = [mixed for name in given.directory if (mixed := read_mixed(Path(name)))]
    if mixed:
        return _report_mixed(mixed, given.directory, as_json=given.json)
    summaries = [read_summary(Path(name)) for name in given.directory]
    if given.json:
        from loadgen_service.core.summary.run import summary_to_json

        texts = [summary_to_json(summary).rstrip() for summary in summaries]
        print(texts[0] if len(texts) == 1 else "[" + ",\n".join(texts) + "]")
    elif len(summaries) > 1 or given.table:
        from loadgen_service.report.verdict_table import print_table, stdout_console

        print_table(stdout_console(), summaries)
    else:
        from loadgen_service.report.text import render

        print(render(summaries[0]), end="")
    for summary, name in zip(summaries, given.directory, strict=True):
        if (Path(name) / RECORDS_FILE).exists():
            print(f"page: {write_page(summary, Path(name))}", file=sys.stderr)
    return 0 if all(summary.valid for summary in summaries) else 1


def read_mixed(directory: Path) -> MixedSummary | None:
    """What mixed.json of a directory says; None without one. Raises UserError for a bad one."""
    from loadgen_service.core.summary.mixed import MIXED_FILE, mixed_from_json

    path = directory / MIXED_FILE
    if not path.is_file():
        return None
    try:
        require_unchanged(directory)
        return mixed_from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{path}: {reason}") from None
    except UserError as error:
        raise UserError(f"{directory}: {error}") from None


def _report_mixed(mixed: Sequence[MixedSummary], directories: Sequence[str], as_json: bool) -> int:
    """Of one mixed run; its streams' pages can be made again one by one."""
    if len(mixed) < len(directories) or len(mixed) > 1:
        raise UserError(
            f"{directories[0]}: a mixed run is reported by itself; to set streams beside other "
            f"runs, name {directories[0]}/streams/NAME"
        )
    from loadgen_service.cli.verbs.run_mixed import print_mixed
    from loadgen_service.core.summary.mixed import mixed_to_json

    if as_json:
        print(mixed_to_json(mixed[0]), end="")
    else:
        print_mixed(mixed[0])
    return 0 if mixed[0].valid else 1


def write_page(summary: Summary, directory: Path) -> Path:
    """Write report.html whole. Raises UserError where the disk refuses."""
    from loadgen_service.report.html.run_page import REPORT_FILE, render_html

    path = directory / REPORT_FILE
    page = render_html(summary, directory)
    try:
        atomic_write(path, lambda partial: partial.write_text(page, encoding="utf-8"))
        replace_sum(directory, REPORT_FILE)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make the directory writable") from None
    return path


def read_summary(directory: Path) -> Summary:
    """The summary of a run directory. Raises UserError naming the directory."""
    from loadgen_service.core.summary.run import summary_from_json

    if mixed := read_mixed(directory):
        names = ", ".join(stream.directory for stream in mixed.streams)
        raise UserError(f"{directory}: holds a mixed run; name one of its streams: {names}")
    path = directory / "summary.json" if directory.is_dir() else directory
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{path}: {reason}; name the directory of a finished run") from None
    try:
        require_unchanged(path.parent)
        summary = summary_from_json(text)
        require_sums(path.parent, summary.checksums)
    except UserError as error:
        raise UserError(f"{directory}: {error}") from None
    return summary
