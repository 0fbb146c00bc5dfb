"""Puts LoadGen's log files into a directory, each whole or not at all. Decides no content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from loadgen_service.atomic_file import atomic_write
from loadgen_service.errors import RunError
from loadgen_service.mlperf.logs.accuracy_log import AccuracyEntry, accuracy_lines
from loadgen_service.mlperf.logs.detail_log import detail_lines
from loadgen_service.mlperf.logs.inputs import LogInputs, reason_without_logs
from loadgen_service.mlperf.logs.summary_log import summary_lines
from loadgen_service.mlperf.logs.trace_log import TracedSeries, trace_lines

SUMMARY_FILE = "mlperf_log_summary.txt"
DETAIL_FILE = "mlperf_log_detail.txt"
ACCURACY_FILE = "mlperf_log_accuracy.json"
TRACE_FILE = "mlperf_log_trace.json"


@dataclass(frozen=True, slots=True)
class WrittenLogs:
    """What was written; without ``paths``, ``note`` says why."""

    paths: tuple[Path, ...]
    note: str = ""


def write_mlperf_logs(
    directory: Path,
    inputs: LogInputs,
    *,
    accuracy: Iterable[AccuracyEntry] = (),
    trace: Iterable[TracedSeries] | None = None,
) -> WrittenLogs:
    """Write summary, detail and accuracy log, and the trace where one is given.

    ``accuracy`` and ``trace`` are read once, while writing. A run of a kind that LoadGen does not
    know gets no files. Raises RunError naming the file where the disk refuses; files already there
    under their own names stay whole.
    """
    note = reason_without_logs(inputs.settings)
    if note:
        return WrittenLogs((), note)
    contents: dict[str, Iterable[str]] = {
        SUMMARY_FILE: summary_lines(inputs),
        DETAIL_FILE: detail_lines(inputs),
        ACCURACY_FILE: accuracy_lines(accuracy),
    }
    if trace is not None:
        contents[TRACE_FILE] = trace_lines(inputs, trace)
    return WrittenLogs(tuple(_write(directory / name, lines) for name, lines in contents.items()))


def _write(path: Path, lines: Iterable[str]) -> Path:
    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            for line in lines:
                file.write(line)
                file.write("\n")

    try:
        return atomic_write(path, write)
    except OSError as error:
        raise RunError(
            f"{path}: {error.strerror}; free some space or choose another --out"
        ) from None
