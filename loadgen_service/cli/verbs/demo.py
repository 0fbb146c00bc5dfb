"""``loadgen demo``: every scenario against a real image classifier on this machine.

Starts a sut-server on loopback, measures it, and ends with one table of verdicts.

What the demonstration runs: short runs whose sizes follow from what the machine can do. Pure.

A fixed rate would be too much for one machine and too little for another, so every run after the
first is sized by the latency that the one before it measured.

The demonstration's system under test: a sut-server process on a free loopback port.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.cli.flags import OneLineParser
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import MS_PER_S
from loadgen_service.errors import RunError, UserError

if TYPE_CHECKING:
    from loadgen_service.cli.progress_view import View
    from loadgen_service.cli.run_watcher import Ended
    from loadgen_service.cli.service_client import ServiceClient
    from loadgen_service.core.summary.run import Summary

MODEL: Final = "efficientnet-lite0"
DATASET: Final = "imagenet-sample"

ACCURACY_TARGET: Final = 0.8
"""The model answers 18 of the 20 images right; two more may fall to another runtime's rounding."""

SERVER_LOAD: Final = 0.35
"""Share of the SUT's one-by-one rate: a queue forms now and then, and drains."""
SERVER_QUERIES: Final = 700
"""p99 at 99 % confidence wants 459 queries in time, 662 with one late."""
BURST_QUERIES: Final = 3
BURST_LOAD: Final = 0.5
BURSTS: Final = 200
"""p95 at 99 % confidence wants 90 bursts in time."""
STREAM_SAMPLES: Final = 4
LATENCY_SLACK: Final = 30.0
"""Latency limit in service times: the demonstration shares its processors with the generator."""

RELAXED: Final = (
    "durations of a few seconds (a submission: 600 s)",
    f"multi_stream: {STREAM_SAMPLES} samples a query and p90 (MLPerf: 8 and p99)",
    "burst: p95 (a default run: p99)",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the demonstration and the words that announce it."""

    words: str
    settings: Settings


def first_step(address: str) -> Step:
    """Accuracy of every labelled image, one after the other."""
    return _step(
        address,
        "accuracy: every labelled image, one after the other",
        scenario="single_stream",
        mode="accuracy",
        accuracy_target=ACCURACY_TARGET,
    )


def second_step(address: str, cold_latency_ms: float) -> Step:
    """single_stream: what one image costs, once the model is warm."""
    return _step(
        address,
        "single_stream: one image after the other",
        scenario="single_stream",
        # a promise far below what was seen cold, so that the list of queries does not run out
        expected_latency_ms=cold_latency_ms / 8,
        min_duration_ms=4000,
    )


def later_steps(address: str, latency_ms: float) -> list[Step]:
    """The other four scenarios, sized for a SUT that answers one image in ``latency_ms``."""
    rate_qps = MS_PER_S / latency_ms
    limit_ms = round(max(100.0, LATENCY_SLACK * latency_ms))
    server_qps = round(SERVER_LOAD * rate_qps, 1)
    period_ms = round(BURST_QUERIES * latency_ms / BURST_LOAD, 1)
    return [
        _step(
            address,
            f"multi_stream: {STREAM_SAMPLES} images at a time",
            scenario="multi_stream",
            samples_per_query=STREAM_SAMPLES,
            expected_latency_ms=latency_ms,
            target_latency_percentile=90,
            min_duration_ms=5000,
        ),
        _step(
            address,
            f"server: Poisson arrivals at {server_qps:g} queries/s, p99 within {limit_ms} ms",
            scenario="server",
            target_qps=server_qps,
            target_latency_ms=limit_ms,
            min_duration_ms=round(SERVER_QUERIES / server_qps * MS_PER_S),
        ),
        _step(
            address,
            "offline: everything at once, as fast as it goes",
            scenario="offline",
            target_qps=round(2 * rate_qps, 1),
            min_duration_ms=3000,
        ),
        _step(
            address,
            f"burst: {BURST_QUERIES} at an instant, every {period_ms:g} ms",
            scenario="burst",
            burst_query_count=BURST_QUERIES,
            burst_period_ms=period_ms,
            target_latency_ms=limit_ms,
            target_latency_percentile=95,
            min_duration_ms=round(BURSTS * period_ms),
        ),
    ]


def _step(address: str, words: str, **values: object) -> Step:
    given = {"sut": [f"grpc://{address}"], "model": MODEL, "dataset": DATASET, **values}
    return Step(words, Settings.model_validate(given))


READY_TIMEOUT_S: Final = 120.0
"""Making the model's ONNX file takes a second; a cold disk may take many."""
END_TIMEOUT_S: Final = 15.0
MISTAKE: Final = 2


@asynccontextmanager
async def embedded_sut(model: str) -> AsyncIterator[str]:
    """HOST:PORT of a running sut-server; it ends with the block.

    Raises UserError or RunError with its own last line where it does not become ready.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sut_server", "--model", model, "--port", "0"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C is for the run: it drains first
    )
    try:
        yield await _ready_address(process)
    finally:
        await _end(process)


async def _ready_address(process: Process) -> str:
    assert process.stdout
    assert process.stderr
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)
    except TimeoutError:
        raise RunError(f"sut-server was not ready after {READY_TIMEOUT_S:g} s") from None
    if b" ready on " in line:
        return line.decode().rsplit(" ", 1)[-1].strip()
    words = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
    last = words[-1] if words else "it said nothing"
    code = await process.wait()
    raise (UserError if code == MISTAKE else RunError)(f"sut-server did not start: {last}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


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
    from loadgen_service.report.verdict_table import print_table, stdout_console

    summaries = [_summary(one) for one in ended if one.summary_json]
    print_table(stdout_console(), summaries, title=f"{MODEL} on this machine")
    print("relaxed, to be short: " + "; ".join(RELAXED))
    print(f"results: {folder} (a run: loadgen report {ended[-1].directory})")
