"""``loadgen run --each``: every SUT gets the whole load by itself, one after another.

Same plan and seeds, a run directory and a verdict each, and one index that sets them side by side.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.outliers import Sibling, outliers
from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.errors import LoadgenError, SettingsError, UserError

if TYPE_CHECKING:
    from loadgen_service.cli.progress_view import View
    from loadgen_service.cli.service_client import ServiceClient

INDEX_FILE: Final = "each.json"


@dataclass(frozen=True, slots=True)
class One:
    """How the run of one SUT ended. ``error``: why it has no verdict."""

    sut: str
    directory: str
    exit_code: int
    valid: bool | None
    error: str
    plan_hash: str
    completed_samples_per_second: float | None
    latency_ns_p99: int | None


def settings_of_each(settings: Settings, folder: Path) -> list[Settings]:
    """The runs: one a SUT, otherwise as asked. Raises SettingsError for a single SUT."""
    if len(settings.sut) < 2:
        raise SettingsError("each: name several SUTs, such as --sut grpc://a:8001,grpc://b:8001")
    if settings.routing == "weights":
        raise SettingsError(
            "sut_weights: with --each every SUT gets the whole load; leave them out"
        )
    return [
        settings.model_copy(update={"sut": [sut], "out": str(folder / f"sut-{index:02d}")})
        for index, sut in enumerate(settings.sut)
    ]


async def run_each(given: argparse.Namespace, settings: Settings) -> int:
    """Run, write the index, tell; 0 if every SUT is VALID, else the worst exit code."""
    from loadgen_service.cli.progress_view import choose_view
    from loadgen_service.cli.run_service import open_service

    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = Path(settings.out or f"{given.results}/{stamp}-each")
    wanted = settings_of_each(settings, folder)
    if (folder / INDEX_FILE).exists():
        raise UserError(f"out {folder}: already holds runs of --each; name another folder")
    view = choose_view(given.quiet)
    ends: list[One] = []
    summaries: list[Summary] = []
    try:
        async with open_service(given, settings, view.say) as client:
            for one in wanted:
                view.say(f"each: {one.sut[0]}")
                end, summary = await _run_one(client, one, bool(given.service), view)
                ends.append(end)
                summaries += [summary] if summary else []
    finally:
        view.close()
    odd = outliers([_sibling(one, summary) for one, summary in _paired(ends, summaries)])
    index = {"format": "loadgen-each", "version": 1, "outliers": odd}
    text = json.dumps({**index, "suts": [asdict(one) for one in ends]}, indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX_FILE).write_text(text, encoding="utf-8")
    _tell(given, text, ends, summaries, odd, folder)
    return max(one.exit_code for one in ends)


async def _run_one(
    client: ServiceClient, settings: Settings, is_remote: bool, view: View
) -> tuple[One, Summary | None]:
    """A SUT that cannot be measured ends its own run, and no sibling's."""
    from loadgen_service.cli.run_watcher import run_to_end

    folder = Path(settings.out)
    try:
        ended = await run_to_end(client, settings, view)
        if is_remote and ended.summary_json:
            folder.mkdir(parents=True, exist_ok=True)
            await client.fetch(ended.run_id, folder)
    except LoadgenError as error:
        return One(settings.sut[0], "", error.exit_code, None, str(error), "", None, None), None
    summary = summary_from_json(ended.summary_json) if ended.summary_json else None
    tail = summary.latency_ns.p99 if summary and summary.latency_ns else None
    one = One(
        sut=settings.sut[0],
        directory=folder.name,
        exit_code=ended.exit_code,
        valid=summary.valid if summary else None,
        error=ended.error,
        plan_hash=summary.plan_hash if summary else "",
        completed_samples_per_second=summary.completed_samples_per_second if summary else None,
        latency_ns_p99=tail,
    )
    return one, summary


def _paired(ends: list[One], summaries: list[Summary]) -> list[tuple[One, Summary]]:
    return list(zip([one for one in ends if one.plan_hash], summaries, strict=True))


def _sibling(one: One, summary: Summary) -> Sibling:
    counts = summary.counts.requests
    return Sibling(one.sut, counts.issued, counts.completed, one.latency_ns_p99)


def _tell(
    given: argparse.Namespace,
    text: str,
    ends: list[One],
    summaries: list[Summary],
    odd: list[str],
    folder: Path,
) -> None:
    from loadgen_service.report.verdict_table import print_table, stdout_console

    for one in ends:
        if one.error:
            print(f"loadgen run: {one.sut}: {one.error}", file=sys.stderr)
    if given.json:
        print(text, end="")
        return
    for one, summary in _paired(ends, summaries):
        print_table(stdout_console(), [summary], title=one.sut)
    for line in odd:
        print(line)
    print(f"results: {folder} ({INDEX_FILE} names each)")
