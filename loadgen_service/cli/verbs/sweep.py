"""``loadgen sweep --target-qps FIRST:LAST:STEP``: latency and throughput over a range of rates.

Every point is a run with its own directory; a sweep that was stopped goes on where it ended, given
the same --out. Takes the flags of ``loadgen run``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.cli.flags import FIRST_SCREEN, OneLineParser, given_flags, model_parser
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.search.rate_sweep import SweepPoint, highest_valid, next_rate, parse_range
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError, SettingsError, UserError
from loadgen_service.plain_yaml import YamlTrouble, dump_yaml, load_yaml

if TYPE_CHECKING:
    from loadgen_service.cli.progress_view import View
    from loadgen_service.cli.service_client import ServiceClient

SETTINGS_FILE: Final = "sweep.yaml"
SWEPT: Final = ("target_qps", "out")
STEADY: Final = ("poisson", "constant", "gamma")


def main(argv: Sequence[str]) -> int:
    """Sweep; 0 if some rate is VALID, 1 if none is."""
    given = _parser().parse_strictly(argv)
    flags = given_flags(given, Settings)
    rates = parse_range(str(flags.pop("target_qps", "")))
    settings = read_settings(Settings, flags, os.environ, given.config)
    _check(settings)
    folder = Path(settings.out or time.strftime(f"{given.results}/%Y%m%dT%H%M%SZ-sweep",
                                                time.gmtime()))  # fmt: skip
    _claim(folder, settings)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        points = runner.run(_sweep(given, settings, folder, rates))
    from loadgen_service.report.html.sweep_page import sentences

    print("\n".join(sentences(points)))
    print(f"results: {folder} (the page: {folder / 'sweep.html'})")
    return 0 if highest_valid(points) else 1


def _parser() -> OneLineParser:
    parser = model_parser("loadgen sweep", __doc__ or "", Settings)
    parser.shorten_help({"sweep": ("--adaptive",), **FIRST_SCREEN})
    group = parser.add_argument_group("sweep")
    group.add_argument("--adaptive", action="store_true", help="only the rates of the range that "
                       "find the highest valid one and the bend of the curve")  # fmt: skip
    group.add_argument("--results", default="results", metavar="DIR", help="holds the sweep if "
                       "--out is not given")  # fmt: skip
    group.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _check(settings: Settings) -> None:
    if not settings.sut or not settings.model:
        raise SettingsError("sut, model: name both, such as --sut grpc://HOST:8001 --model NAME")
    if SCENARIOS[settings.scenario].due != "arrivals" or settings.arrivals not in STEADY:
        raise SettingsError(
            "scenario: a sweep offers rates, which only --scenario server with --arrivals "
            f"{', '.join(STEADY)} has"
        )
    if settings.mode != "performance":
        raise SettingsError(f"mode: a sweep measures performance, not {settings.mode}")


def _claim(folder: Path, settings: Settings) -> None:
    """Make the directory of a sweep, or see that it is one of the same settings."""
    from loadgen_service.core.summary.run import public_settings

    public = public_settings(settings)
    asked = {name: public[name] for name in Settings.model_fields if name not in SWEPT}
    path = folder / SETTINGS_FILE
    try:
        if path.exists():
            found = load_yaml(path.read_text(encoding="utf-8"))
            known = found if isinstance(found, dict) else {}
            differing = [name for name in asked if known.get(name) != asked[name]]
            if differing:
                raise UserError(
                    f"out {folder}: holds a sweep with another {', '.join(differing)}; "
                    "name another folder"
                )
            return
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(dump_yaml(asked), encoding="utf-8")
    except YamlTrouble as error:
        raise UserError(f"{path}: {error}; name another folder") from None
    except OSError as error:
        raise UserError(f"out {folder}: {error.strerror}; name another folder") from None


async def _sweep(
    given: argparse.Namespace, settings: Settings, folder: Path, rates: list[float]
) -> list[SweepPoint]:
    from loadgen_service.cli.local_service import local_service
    from loadgen_service.cli.progress_view import choose_view

    view = choose_view(given.quiet)
    done: dict[float, SweepPoint] = {}
    try:
        async with local_service(settings.workers, str(folder), view.say) as client:
            while (rate := _next(given.adaptive, rates, done)) is not None:
                done[rate] = await _point(client, settings, folder, rate, view)
                _write(folder, settings, done)
    finally:
        view.close()
    return [done[rate] for rate in sorted(done)]


def _next(adaptive: bool, rates: list[float], done: dict[float, SweepPoint]) -> float | None:
    if adaptive:
        return next_rate(rates, done)
    return next((rate for rate in rates if rate not in done), None)


async def _point(
    client: ServiceClient, settings: Settings, folder: Path, rate: float, view: View
) -> SweepPoint:
    """The run of one rate, or its result if it has one. Raises RunError where it cannot end."""
    from loadgen_service.cli.run_watcher import run_to_end
    from loadgen_service.cli.verbs.report import read_summary
    from loadgen_service.report.html.sweep_page import point_of

    name = f"points/qps-{rate:.9g}"
    directory = folder / name
    if (directory / "summary.json").exists() and (found := read_summary(directory)).state == "DONE":
        view.say(f"sweep: {rate:g} queries/s was measured before")
        return point_of(found, rate, name)
    if directory.exists():
        view.say(f"sweep: {directory} holds a run that did not finish; it is measured anew")
        shutil.rmtree(directory)
    view.say(f"sweep: {rate:g} queries/s")
    wanted = settings.model_copy(update={"target_qps": rate, "out": str(directory)})
    ended = await run_to_end(client, wanted, view)
    if ended.exit_code > 1 or not ended.summary_json:
        raise RunError(
            f"{rate:g} queries/s: {ended.error or 'no result'}; "
            f"the same command with --out {folder} goes on here"
        )
    return point_of(read_summary(directory), rate, name)


def _write(folder: Path, settings: Settings, done: dict[float, SweepPoint]) -> None:
    """The page and the Parquet file after every point, so that a sweep can be watched."""
    from loadgen_service.report.html.sweep_page import (
        PAGE_FILE,
        POINTS_FILE,
        render_sweep,
        write_points,
    )

    points = [done[rate] for rate in sorted(done)]
    title = f"{settings.model} at {', '.join(settings.sut)}"
    try:
        write_points(folder / f".{POINTS_FILE}.partial", points)
        (folder / f".{POINTS_FILE}.partial").replace(folder / POINTS_FILE)
        page = render_sweep(points, title, settings.latency_limit_ns or None)
        (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; free some space and try again") from None
