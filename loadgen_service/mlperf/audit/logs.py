"""Reads LoadGen's log files back, the official LoadGen's or ours: keys, errors, logged responses.

Refuses nothing for what it says; a file that cannot be read as such a log is named in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen_service.errors import UserError
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE

MARK: Final = ":::MLLOG"

SCORE_KEYS: Final[Mapping[str, str]] = {
    "Offline": "result_samples_per_second",
    "Server": "result_completed_samples_per_sec",
    "SingleStream": "early_stopping_latency_ss",
    "MultiStream": "early_stopping_latency_ms",
}
"""Key of the submitted figure, by LoadGen's scenario (specification 7.1)."""

STREAMS: Final = frozenset({"SingleStream", "MultiStream"})
"""Scenarios whose score is a latency: less is better."""


@dataclass(frozen=True, slots=True)
class DetailLog:
    """A detail log: the first value of every key, and the texts of its error lines.

    A line that is no JSON counts as an error.
    """

    path: Path
    values: Mapping[str, Any]
    errors: tuple[str, ...]

    def text(self, key: str) -> str:
        """A value as text; empty where the key is missing."""
        return str(self.values.get(key, ""))

    def number(self, key: str) -> float | None:
        """A value as a number; None where the key is missing or holds none."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value)

    @property
    def scenario(self) -> str:
        """LoadGen's scenario, as ``Offline``."""
        return self.text("effective_scenario")

    @property
    def score(self) -> float | None:
        """The submitted figure: a rate, or a latency in ns; None where the log has none above 0."""
        found = self.number(SCORE_KEYS.get(self.scenario, ""))
        return found if found and found > 0 else None


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One entry of an accuracy log."""

    sample_index: int
    data: bytes
    token_data: bytes | None = None
    token_count: int | None = None


def read_detail_log(path: Path) -> DetailLog:
    """Parse mlperf_log_detail.txt (or the one in a folder). Raises UserError for another file."""
    path = path / DETAIL_FILE if path.is_dir() else path
    values: dict[str, Any] = {}
    errors: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.startswith(MARK):
            if number == 1:
                raise UserError(f"{path}: begins with no {MARK}; name a LoadGen detail log")
            continue
        try:
            entry = json.loads(line[len(MARK) :], parse_constant=lambda _: None)
            key, value, metadata = entry["key"], entry["value"], entry.get("metadata") or {}
        except (ValueError, TypeError, KeyError):
            # LoadGen itself writes -nan where it divided by nothing; MLPerf's parser stops there
            errors.append(f"line {number} is not JSON")
            continue
        values.setdefault(str(key), value)
        if metadata.get("is_error"):
            errors.append(str(value))
    return DetailLog(path, values, tuple(errors))


def read_accuracy_log(path: Path) -> list[LoggedAnswer]:
    """Entries of mlperf_log_accuracy.json (or the one in a folder), in order. Raises UserError."""
    path = path / ACCURACY_FILE if path.is_dir() else path
    try:
        entries = json.loads("\n".join(_lines(path)) or "[]")
        return [_answer(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: not LoadGen's accuracy log; is it whole?") from None


def _answer(entry: Mapping[str, Any]) -> LoggedAnswer:
    tokens = entry.get("token_data")
    return LoggedAnswer(
        int(entry["qsl_idx"]),
        bytes.fromhex(entry["data"]),
        None if tokens is None else bytes.fromhex(tokens),
        entry.get("token_count"),
    )


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="backslashreplace") as file:
            for line in file:
                yield line.rstrip("\n")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; name the directory of a finished run that LoadGen knows"
        ) from None


def has_logs(directory: Path) -> bool:
    """Whether a run directory holds LoadGen's summary and detail log."""
    return all((directory / name).is_file() for name in (SUMMARY_FILE, DETAIL_FILE))
