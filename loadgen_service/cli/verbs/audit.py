"""``loadgen audit TEST``: measures what a compliance test needs, and applies its pass rule.

Takes the flags of ``loadgen run``: the same runs, with the settings of the test on the last one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen_service.cli.flags import OneLineParser, did_you_mean, given_flags
from loadgen_service.cli.run_service import open_service
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.cli.verbs.run import run_parser
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError, SettingsError, UserError
from loadgen_service.mlperf.audit.report import CONF_FILE, REPORT_FILE, report_lines, write_audit
from loadgen_service.mlperf.audit.table import TESTS, AuditTest, audit_conf_text
from loadgen_service.mlperf.submission.audit_verdict import LOG_PLACEHOLDER, AuditWay, judge_audit

if TYPE_CHECKING:
    from loadgen_service.cli.run_watcher import Ended

EPILOG = "tests: " + "; ".join(f"{one.name}: {one.words}" for one in TESTS.values())


@dataclass(frozen=True, slots=True)
class Audit:
    """What was asked: the test, its runs' settings, and the runs that exist already."""

    test: AuditTest
    folder: Path
    settings: Mapping[str, Settings]
    existing: Mapping[str, Path]
    way: AuditWay


def main(argv: Sequence[str]) -> int:
    """Run the test; 0 PASS, 1 FAIL."""
    given = _parser().parse_strictly(argv)
    audit = _audit(given)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ended = runner.run(_measure(given, audit))
    _require_verdicts(audit.test.name, ended)
    runs: dict[str, Path] = {
        name: audit.existing.get(name) or Path(ended[name].directory) for name in audit.test.runs
    }
    result = judge_audit(audit.test.name, runs, audit.way, audit.folder)
    test_folder = write_audit(audit.folder, result, runs["audit"])
    if given.json:
        print((test_folder / REPORT_FILE).read_text(encoding="utf-8"), end="")
    else:
        print("\n".join([*report_lines(result), f"report: {test_folder}"]))
    return 0 if result.passed else 1


def _require_verdicts(test: str, ended: Mapping[str, Ended]) -> None:
    """Raises UserError or RunError naming the first run that came to no verdict."""
    for name, one in ended.items():
        if one.exit_code > 1:
            kind = UserError if one.exit_code == UserError.exit_code else RunError
            raise kind(f"{test}: not judged; the {name} run: {one.error or one.directory}")


def _parser() -> OneLineParser:
    parser = run_parser("loadgen audit TEST", __doc__ or "")
    parser.epilog = EPILOG
    parser.add_argument("test", metavar="TEST", help=", ".join(TESTS))
    group = parser.add_argument_group("audit: runs that are there already, and how they are read")
    group.add_argument("--performance-run", default="", metavar="DIR", help="the reference run")
    group.add_argument("--accuracy-run", default="", metavar="DIR", help="TEST01: its answers")
    group.add_argument("--custom-dataset", default="", metavar="DATA", help="custom-data: what to "
                       "send instead of --dataset")  # fmt: skip
    group.add_argument("--data-type", default="", metavar="TYPE", help="of a response's values: "
                       "byte, float32, int16, int32, int64 (TEST01 byte, else int32)")  # fmt: skip
    group.add_argument("--accuracy-command", default="", metavar="CMD", help="TEST01: scores a log "
                       f"named {LOG_PLACEHOLDER}; asked where answers may differ")  # fmt: skip
    group.add_argument("--eos-token-id", type=int, default=2, metavar="N", help="TEST06 (2)")
    return parser


def _audit(given: argparse.Namespace) -> Audit:
    """Judge the flags. Raises SettingsError; writes the test's audit.config."""
    from loadgen_service.mlperf.audit.rules import DTYPES

    test = TESTS.get(given.test)
    if test is None:
        hint = did_you_mean(given.test, TESTS) or f"; tests are {', '.join(TESTS)}"
        raise SettingsError(f"test: no compliance test {given.test}{hint}")
    if given.data_type and given.data_type not in DTYPES:
        raise SettingsError(f"data_type {given.data_type}: use one of {', '.join(DTYPES)}")
    if (test.name == "custom-data") != bool(given.custom_dataset):
        raise SettingsError(
            "custom_dataset: name the other data, such as --custom-dataset random"
            if not given.custom_dataset
            else f"custom_dataset: only custom-data sends other data, not {test.name}"
        )
    existing = _existing(given, test)
    command = tuple(_command(given, test))
    flags = given_flags(given, Settings)
    for name in ("mode", "audit_config", "test05"):
        if name in flags:
            raise SettingsError(f"{name}: `loadgen audit` sets it itself; leave it out")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = Path(str(flags.pop("out", "") or Path(given.results) / f"{stamp}-{test.name}"))
    settings = _settings(given, test, folder, flags)
    way = AuditWay(given.data_type, given.eos_token_id, command)
    return Audit(test, folder, settings, existing, way)


def _command(given: argparse.Namespace, test: AuditTest) -> list[str]:
    if not given.accuracy_command:
        return []
    if test.name != "TEST01" or LOG_PLACEHOLDER not in given.accuracy_command:
        raise SettingsError(
            f"accuracy_command: is for TEST01, and names the log as {LOG_PLACEHOLDER}"
        )
    try:
        return shlex.split(given.accuracy_command)
    except ValueError as error:
        raise SettingsError(f"accuracy_command: {error}") from None


def _existing(given: argparse.Namespace, test: AuditTest) -> dict[str, Path]:
    found = {}
    for name in ("performance", "accuracy"):
        path = getattr(given, f"{name}_run")
        if path and name not in test.runs:
            raise SettingsError(f"{name}_run: {test.name} needs no {name} run")
        if path and not Path(path).is_dir():
            raise UserError(f"{name}_run {path}: no such directory; name a finished run's")
        if path:
            found[name] = Path(path)
    return found


def _settings(
    given: argparse.Namespace, test: AuditTest, folder: Path, flags: dict[str, object]
) -> dict[str, Settings]:
    """Settings of every run of the test. The audited one reads the test's audit.config."""
    plain = read_settings(Settings, flags, os.environ, given.config)
    if not plain.sut or not plain.model:
        raise SettingsError(
            "sut, model: name both, such as --sut grpc://127.0.0.1:8001 --model resnet50"
        )
    added: dict[str, dict[str, object]] = {
        "performance": {"mode": "performance"},
        "accuracy": {"mode": "accuracy"},
        "audit": {"mode": "performance"},
    }
    if test.name == "TEST05":
        added["audit"]["test05"] = True
    elif test.name == "custom-data":
        added["audit"]["dataset"] = given.custom_dataset
    text = audit_conf_text(test.name, plain.mlperf_model)
    if text:
        added["audit"]["audit_config"] = str(_write_conf(folder / test.name / CONF_FILE, text))
    return {
        name: read_settings(
            Settings,
            {**flags, **added[name], "mlperf_logs": True, "out": str(folder / "runs" / name)},
            os.environ,
            given.config,
        )
        for name in test.runs
    }


def _write_conf(path: Path, text: str) -> Path:
    if path.exists():
        raise UserError(f"out {path.parent.parent}: already holds an audit; name another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"out {path}: {error.strerror}; name another folder") from None
    return path


async def _measure(given: argparse.Namespace, audit: Audit) -> dict[str, Ended]:
    """Every run that is not there yet, one after the other; stops at one that did not finish."""
    from loadgen_service.cli.progress_view import choose_view
    from loadgen_service.cli.run_watcher import run_to_end

    view = choose_view(given.quiet)
    ended: dict[str, Ended] = {}
    try:
        async with open_service(given, audit.settings["audit"], view.say) as client:
            for name in audit.test.runs:
                if name in audit.existing:
                    continue
                view.say(f"{audit.test.name}: the {name} run")
                settings = audit.settings[name]
                one = await run_to_end(client, settings, view)
                if given.service and one.summary_json:
                    await client.fetch(one.run_id, Path(settings.out))
                    one = one.moved_to(settings.out)
                ended[name] = one
                if one.exit_code > 1:
                    break
    finally:
        view.close()
    return ended
