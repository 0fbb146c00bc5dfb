"""``loadgen run``: one run, from its settings to its verdict and exit code.

The run itself happens in a LoadGen service: one started inside with local workers, or one that
already serves (``--service``). A settings file with ``streams`` makes it a mixed run: several
models or servers at once, a verdict for each (docs/how-to/mixed.md).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.cli.flags import FIRST_SCREEN, OneLineParser, given_flags, model_parser
from loadgen_service.cli.ray_fleet import add_fleet_flags, ray_fleet
from loadgen_service.cli.run_service import local_ports, open_service
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError, RunError, SettingsError

if TYPE_CHECKING:
    from loadgen_service.cli.run_watcher import Ended
    from loadgen_service.cli.service_client import ServiceClient
    from loadgen_service.core.settings.mixed_streams import StreamSettings

LINGER_MS: Final = 20_000
"""Longer than Prometheus' customary interval of 15 s."""


def main(argv: Sequence[str]) -> int:
    """Run; prints the verdict, or JSON, on stdout and progress on stderr."""
    parser = run_parser("loadgen run", __doc__ or "")
    parser.add_argument("--each", action="store_true", help="every SUT of --sut gets the whole "
                        "load by itself, and its own verdict")  # fmt: skip
    given = parser.parse_strictly(argv)
    if not given.each and (streams := _streams(given)):
        return _run_mixed(given, streams)
    settings = read_settings(Settings, given_flags(given, Settings), os.environ, given.config)
    if not settings.sut:
        raise SettingsError("sut: name at least one, such as --sut grpc://127.0.0.1:8001")
    if given.service:
        local_ports(given)
    if given.service or given.advertise:
        ray_fleet(given, settings.lease_timeout_ms)
    if not settings.model:
        raise SettingsError("model: name the model to ask, such as --model resnet50")
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if given.each:
            from loadgen_service.cli.verbs.run_each import run_each

            return runner.run(run_each(given, settings))
        ended = runner.run(_run(given, settings))
    return _tell(ended, as_json=given.json)


def _streams(given: argparse.Namespace) -> list[StreamSettings]:
    """Those of a settings file that names some."""
    if not given.config:
        return []
    from loadgen_service.cli.mixed_settings import read_streams

    return read_streams(given.config, given_flags(given, Settings), os.environ)


def _run_mixed(given: argparse.Namespace, streams: list[StreamSettings]) -> int:
    import uvloop

    from loadgen_service.cli.verbs.run_mixed import run_mixed

    if given.service:
        local_ports(given)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_mixed(given, streams))


def run_parser(prog: str, description: str) -> OneLineParser:
    """The flags of a run: its settings, where it happens, what is shown."""
    parser = model_parser(prog, description, Settings)
    parser.shorten_help(FIRST_SCREEN)
    group = parser.add_argument_group("service: where the run happens, if not in this process")
    group.add_argument("--service", default="", metavar="HOST:PORT", help="a LoadGen service")
    group.add_argument("--token-file", default="", metavar="FILE", help="its token; or the "
                       "environment variable LOADGEN_TOKEN")  # fmt: skip
    group.add_argument("--service-tls-ca", default="", metavar="FILE", help="PEM: its authority")
    group.add_argument(
        "--service-tls-cert", default="", metavar="FILE", help="PEM: our certificate"
    )
    group.add_argument("--service-tls-key", default="", metavar="FILE", help="PEM: its key")
    group.add_argument("--insecure", action="store_true", help="plain text to another host")
    add_fleet_flags(parser)
    _add_port_flags(parser)
    shown = parser.add_argument_group("output")
    shown.add_argument("--results", default="results", metavar="DIR", help="holds run directories")
    shown.add_argument("--quiet", action="store_true", help="no progress")
    shown.add_argument("--json", action="store_true", help="print summary.json instead of a table")
    return parser


def _add_port_flags(parser: OneLineParser) -> None:
    group = parser.add_argument_group("seeing: ports on 127.0.0.1 while it runs, without --service")
    group.add_argument("--http-port", type=int, metavar="N", help="live page and /metrics; 0 picks "
                       "a free port and says which")  # fmt: skip
    group.add_argument("--metrics-port", type=int, metavar="N", help="/metrics alone")
    group.add_argument("--metrics-linger-ms", type=int, default=LINGER_MS, metavar="MS", help="how "
                       "long the end waits for a last scrape of the final figures; 0: not at all "
                       f"(default {LINGER_MS} with --metrics-port)")  # fmt: skip


async def _run(given: argparse.Namespace, settings: Settings) -> Ended:
    from loadgen_service.cli.progress_view import choose_view
    from loadgen_service.cli.run_watcher import run_to_end

    view = choose_view(given.quiet)
    try:
        async with open_service(given, settings, view.say) as client:
            ended = await run_to_end(client, settings, view)
            if given.service and settings.out and ended.summary_json:
                ended = await fetched(client, ended, settings.out)
    finally:
        view.close()
    return ended


async def fetched(client: ServiceClient, ended: Ended, out: str) -> Ended:
    """``ended`` with its files in ``out``. Raises RunError that says where they are left, such as
    when the token ended during the run."""
    try:
        await client.fetch(ended.run_id, Path(out))
    except LoadgenError as error:
        raise RunError(
            f"run {ended.run_id}: it ended, and its results lie at the service in "
            f"{ended.directory}; they were not downloaded to {out}: {error}"
        ) from None
    return ended.moved_to(out)


def _tell(ended: Ended, as_json: bool) -> int:
    if ended.error:
        print(f"loadgen run: {ended.error}", file=sys.stderr)
    if as_json:
        if ended.summary_json:
            print(ended.summary_json, end="")
    elif ended.summary_json:
        from loadgen_service.core.summary.run import summary_from_json
        from loadgen_service.report.verdict_table import print_table, stdout_console

        print_table(stdout_console(), [summary_from_json(ended.summary_json)])
        print(f"results: {ended.directory}")
    return ended.exit_code
