"""A mixed run from the command line: one service, its streams at once, a verdict for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen_service.core.printable import printable
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.mixed_streams import StreamSettings
from loadgen_service.core.summary.mixed import MixedSummary, mixed_from_json

if TYPE_CHECKING:
    from loadgen_service.cli.run_watcher import Ended
    from loadgen_service.cli.service_client import ServiceClient


async def run_mixed(given: argparse.Namespace, streams: Sequence[StreamSettings]) -> int:
    """Run, show, tell. Exit codes are those of ``loadgen run``: a verdict is of all streams."""
    from loadgen_service.cli.progress_view import choose_view
    from loadgen_service.cli.run_service import open_service
    from loadgen_service.cli.run_watcher import watch_to_end

    view = choose_view(given.quiet)
    together = _of_all(streams)
    try:
        async with open_service(given, together, view.say) as client:
            started = await client.start_mixed(
                together.model_dump_json(),
                [(one.name, one.settings.model_dump_json()) for one in streams],
            )
            ended = await watch_to_end(client, started, view)
            if given.service and together.out and ended.summary_json:
                ended = await _fetched(client, ended, together.out)
    finally:
        view.close()
    return _tell(ended, as_json=given.json)


def _of_all(streams: Sequence[StreamSettings]) -> Settings:
    """Where the whole run goes, and how many workers it needs."""
    first = streams[0].settings
    values = {
        "out": first.out,
        "lease_timeout_ms": first.lease_timeout_ms,
        "workers": sum(one.settings.workers for one in streams),
        "scenario": "server",
    }
    return Settings.model_validate(values)


async def _fetched(client: ServiceClient, ended: Ended, out: str) -> Ended:
    await client.fetch(ended.run_id, Path(out))
    return ended.moved_to(out)


def _tell(ended: Ended, as_json: bool) -> int:
    if ended.error:
        print(f"loadgen run: {ended.error}", file=sys.stderr)
    if not ended.summary_json:
        return ended.exit_code
    if as_json:
        print(ended.summary_json, end="")
    else:
        print_mixed(mixed_from_json(ended.summary_json))
        print(f"results: {ended.directory}")
    return ended.exit_code


def print_mixed(mixed: MixedSummary) -> None:
    """The table of the streams, and why they are not VALID."""
    from loadgen_service.report.html.mixed_page import reasons, remarks, stream_row
    from loadgen_service.report.verdict_table import COLUMNS, print_rows, stdout_console

    console = stdout_console()
    # its model stands in the report; here a row must fit a terminal
    rows = [(name, *cells) for name, _, *cells in map(stream_row, mixed.streams)]
    print_rows(console, ("stream", *COLUMNS), rows)
    for line in [*reasons(mixed), *remarks(mixed)]:
        console.print(printable(line), markup=False, highlight=False)
