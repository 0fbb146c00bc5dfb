"""Draws what a finished demonstration printed: terminal_picture.py RESULTS > terminal.svg.

Reads the summaries of run directories; the table is the one that ``loadgen demo`` prints.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from loadgen_service.core.summary.run import summary_from_json
from loadgen_service.report.verdict_table import print_table

COLUMNS = 108


def main(folder: str) -> None:
    """The SVG of all runs below ``folder``, in the order of their names."""
    files = sorted(Path(folder).rglob("summary.json"))
    summaries = [summary_from_json(file.read_text(encoding="utf-8")) for file in files]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("$ loadgen demo", style="bold")
    print_table(console, summaries, title="efficientnet-lite0 on this machine")
    sys.stdout.write(console.export_svg(title="loadgen"))


if __name__ == "__main__":
    main(sys.argv[1])
