"""StartTest: which of the two ways a script is run in, and who gets its answers meanwhile.

One test at a time in a process, as in LoadGen. Decides no pace and no verdict.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from loadgen_service.binding.answers import Callback, Receiver, take
from loadgen_service.binding.choice import chosen
from loadgen_service.binding.handles import qsl_of, sut_of
from loadgen_service.binding.settings import TestSettings
from loadgen_service.binding.values import LogSettings, QuerySampleResponse
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE

READ_AUDIT: Final = 2
OFFICIAL_PREFIX: Final = "mlperf_log_"


_RUNNING: Final[dict[str, Receiver]] = {}
_LOCK: Final = threading.Lock()


def StartTest(
    sut: int, qsl: int, test_settings: TestSettings, audit_config_filename: str = "audit.config"
) -> None:
    """Run or serve the script, with LoadGen's default log settings."""
    StartTestWithLogSettings(sut, qsl, test_settings, LogSettings(), audit_config_filename)


def StartTestWithLogSettings(
    sut: int,
    qsl: int,
    test_settings: TestSettings,
    log_settings: LogSettings,
    audit_config_filename: str = "audit.config",
) -> None:
    """Run or serve the script; returns when the test is over or serving was stopped.

    Raises UserError or SettingsError, one line each, before anything was issued.
    """
    choice = chosen()
    script_sut, library = sut_of(sut), qsl_of(qsl)
    if not _LOCK.acquire(blocking=False):
        raise UserError("StartTest: another test runs in this process; one at a time")
    try:
        if choice.way == "serve":
            from loadgen_service.binding.serving import ServedScript

            served = ServedScript(choice, script_sut, library, test_settings.use_token_latencies)
            _RUNNING["now"] = served
            served.run()
            return
        from loadgen_service.binding.one_process import OneProcessRun, RunScript

        _apply_audit(test_settings, audit_config_filename)
        try:
            settings = test_settings.to_settings(timeout_ms=choice.timeout_ms, mlperf_logs=True)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"TestSettings: {field} {first['msg']}".strip()) from None
        run = OneProcessRun(RunScript(settings, script_sut, library, choice.out, choice.results))
        _RUNNING["now"] = run
        _finish(run, log_settings)
    finally:
        _RUNNING.pop("now", None)
        _LOCK.release()


def _apply_audit(settings: TestSettings, path: str) -> None:
    """LoadGen's own rule: the file of the working directory, for no model at all (4.4)."""
    if path and Path(path).is_file():
        scenario = str(settings.official_fields()["scenario"])
        if settings.FromConfig(path, "*", scenario, READ_AUDIT):
            raise UserError(f"{path}: LoadGen would refuse this file; mend it or take it away")


def _finish(run: object, log_settings: LogSettings) -> None:
    from loadgen_service.binding.one_process import OneProcessRun

    assert isinstance(run, OneProcessRun)
    output = log_settings.log_output
    if not Path(output.outdir).is_dir():
        raise UserError(f"outdir: {output.outdir} is no folder; LoadGen never makes it, nor do we")
    summary = run.run()
    stamp = f"{datetime.now():%FT%TZ}_" if output.prefix_with_datetime else ""
    for name in (SUMMARY_FILE, DETAIL_FILE, ACCURACY_FILE):
        stem, dot, ending = name.removeprefix(OFFICIAL_PREFIX).partition(".")
        target = Path(output.outdir) / f"{output.prefix}{stamp}{stem}{output.suffix}{dot}{ending}"
        shutil.copyfile(run.directory.path / name, target)
        if (name == SUMMARY_FILE and output.copy_summary_to_stdout) or (
            name == DETAIL_FILE and output.copy_detail_to_stdout
        ):
            sys.stdout.write(target.read_text(encoding="utf-8"))
    verdict = {True: "VALID", False: "INVALID", None: "not judged"}[summary.valid]
    print(f"loadgen binding: {verdict}; results: {run.directory.path}", file=sys.stderr)


def QuerySamplesComplete(
    responses: Sequence[QuerySampleResponse], response_cb: Callback | None = None
) -> None:
    """Samples are answered; may be called on any thread, inside the issue callback too."""
    receiver = _RUNNING.get("now")
    if receiver is not None:  # after the test an answer has nobody to go to
        take(receiver, responses, response_cb, is_first=False)


def FirstTokenComplete(
    responses: Sequence[QuerySampleResponse], response_cb: Callback | None = None
) -> None:
    """The first tokens of samples are there."""
    receiver = _RUNNING.get("now")
    if receiver is not None:
        take(receiver, responses, response_cb, is_first=True)


def stop_serving() -> None:
    """End the serving of this process, as a signal does; nothing happens if it does not serve."""
    from loadgen_service.binding.serving import ServedScript

    receiver = _RUNNING.get("now")
    if isinstance(receiver, ServedScript):
        receiver.stop()
