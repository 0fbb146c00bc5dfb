"""``loadgen demo``: every scenario against a real image classifier on this machine.

Starts a sut-server on loopback, measures it, and ends with one table of verdicts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen_service.cli.flags import OneLineParser

if TYPE_CHECKING:
    from loadgen_service.cli.progress_view import View
    from loadgen_service.cli.run_watcher import Ended
    from loadgen_service.cli.service_client import ServiceClient
    from loadgen_service.cli.verbs.demo_plan import Step
    from loadgen_service.core.summary.run import Summary


def main(argv: Sequence[str]) -> int:
    """Run the demonstration; 0 if every run was VALID, else the worst exit code of a run."""
    parser = OneLineParser(prog="loadgen demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("--results", default="results", metavar="DIR", help="holds run directories")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--short", action="store_true", help="accuracy and single_stream only")
    given = parser.parse_strictly(argv)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_demo(given.results, quiet=given.quiet, short=given.short))


async def _demo(results: str, *, quiet: bool, short: bool) -> int:
    from loadgen_service.cli.local_service import local_service
    from loadgen_service.cli.progress_view import choose_view
    from loadgen_service.cli.verbs.demo_plan import MODEL
    from loadgen_service.cli.verbs.demo_sut import embedded_sut

    folder = str(Path(results) / time.strftime("demo-%Y%m%dT%H%M%SZ", time.gmtime()))
    view = choose_view(quiet)
    ended: list[Ended] = []
    try:
        view.say(f"demo: starting sut-server with {MODEL}, an ImageNet classifier")
        async with embedded_sut(MODEL) as address, local_service(1, folder, view.say) as client:
            async for one in _runs(client, address, view, short):
                ended.append(one)
    finally:
        view.close()
    _show(ended, folder)
    return max(one.exit_code for one in ended)


async def _runs(
    client: ServiceClient, address: str, view: View, short: bool
) -> AsyncIterator[Ended]:
    """One run after the other, each sized by what the first two measured; ``short``: those two."""
    from loadgen_service.cli.verbs.demo_plan import first_step, later_steps, second_step

    cold = await _run(client, first_step(address), view)
    yield cold
    if not is_finished(cold):
        return
    warm = await _run(client, second_step(address, _latency_ms(cold)), view)
    yield warm
    if short or not is_finished(warm):
        return
    for step in later_steps(address, _latency_ms(warm)):
        ended = await _run(client, step, view)
        yield ended
        if not is_finished(ended):
            return


def is_finished(ended: Ended) -> bool:
    """Whether the run came to a verdict; if not, the next one would fare no better."""
    return ended.exit_code <= 1


async def _run(client: ServiceClient, step: Step, view: View) -> Ended:
    from loadgen_service.cli.run_watcher import run_to_end

    view.say(f"demo: {step.words}")
    ended = await run_to_end(client, step.settings, view)
    if ended.error:
        view.say(f"demo: {ended.error}")
    return ended


def _latency_ms(ended: Ended) -> float:
    """Median latency of a run: what one image costs here, one after the other."""
    from loadgen_service.errors import RunError

    latency = _summary(ended).latency_ns
    if latency is None:
        raise RunError(f"no image was answered; see loadgen report {ended.directory}")
    return latency.p50 / 1e6


def _summary(ended: Ended) -> Summary:
    from loadgen_service.core.summary.run import summary_from_json

    return summary_from_json(ended.summary_json)


def _show(ended: Sequence[Ended], folder: str) -> None:
    from loadgen_service.cli.verbs.demo_plan import MODEL, RELAXED
    from loadgen_service.report.verdict_table import print_table, stdout_console

    summaries = [_summary(one) for one in ended if one.summary_json]
    print_table(stdout_console(), summaries, title=f"{MODEL} on this machine")
    print("relaxed, to be short: " + "; ".join(RELAXED))
    print(f"results: {folder} (a run: loadgen report {ended[-1].directory})")
