"""``loadgen accuracy DIR``: the accuracy of a finished run, from its answers.

DIR: a run directory, or any folder with LoadGen's mlperf_log_accuracy.json. The result is printed
and kept in DIR/accuracy.txt.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.checksums import require_unchanged
from loadgen_service.cli.flags import OneLineParser
from loadgen_service.errors import RunError, SettingsError, UserError

if TYPE_CHECKING:
    from loadgen_service.mlperf.audit.logs import LoggedAnswer

SCORE_FILE: Final = "accuracy.txt"
Script = Callable[[Sequence["LoggedAnswer"]], Mapping[str, float]]


def main(argv: Sequence[str]) -> int:
    """Score; 0, or 1 where samples have no answer or the score is below ``--target``."""
    given = _parser().parse_strictly(argv)
    _judge_flags(given)
    directory = Path(given.directory)
    require_unchanged(directory)
    from loadgen_service.mlperf.accuracy_scores import first_answers

    answers = first_answers(_answers(directory))
    if not answers:
        raise UserError(f"{directory}: no answer was logged; run with --mode accuracy")
    lines, score = _scored(given, answers)
    missing = _missing(directory, answers)
    _keep(directory, lines)
    print("\n".join(lines))
    if missing:
        print(f"loadgen accuracy: {missing} samples have no answer", file=sys.stderr)
    if given.target is not None and score < given.target:
        print(f"loadgen accuracy: {score:g} is below --target {given.target:g}", file=sys.stderr)
        return 1
    return 1 if missing else 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="loadgen accuracy", description=__doc__, allow_abbrev=False)
    parser.add_argument("directory", metavar="DIR", help="run directory, or folder with the log")
    how = parser.add_argument_group("how answers are scored: one of")
    how.add_argument("--labels", default="", metavar="FILE", help="classification: val_map.txt "
                     "with NAME LABEL a line, in the order of the samples")  # fmt: skip
    how.add_argument("--tokens", default="", metavar="FILE", help="exact match: JSON, a list of "
                     "the wanted tokens of each sample, or {sample: tokens}")  # fmt: skip
    how.add_argument("--script", default="", metavar="PKG.MODULE:FUNCTION", help="your own: takes "
                     "the answers, gives {name: value}")  # fmt: skip
    parser.add_argument("--data-type", default="", metavar="TYPE", help="of the logged bytes: "
                        "byte, float32, int16, int32, int64 (classes float32, "
                        "tokens int32)")  # fmt: skip
    parser.add_argument("--target", type=float, metavar="X", help="least score: top-1 or exact "
                        "match as a share, or the script's first value")  # fmt: skip
    return parser


def _judge_flags(given: argparse.Namespace) -> None:
    from loadgen_service.mlperf.audit.rules import DTYPES

    if sum(map(bool, (given.labels, given.tokens, given.script))) != 1:
        raise SettingsError("labels, tokens, script: give exactly one of them")
    if given.data_type and given.data_type not in DTYPES:
        raise SettingsError(f"data_type {given.data_type}: use one of {', '.join(DTYPES)}")


def _answers(directory: Path) -> list[LoggedAnswer]:
    """From LoadGen's log where there is one, else from our own responses. Raises UserError."""
    from loadgen_service.mlperf.audit.logs import read_accuracy_log
    from loadgen_service.mlperf.logs.writer import ACCURACY_FILE

    if (directory / "responses.parquet").is_file() and not (directory / ACCURACY_FILE).is_file():
        return _kept_answers(directory)
    return read_accuracy_log(directory)


def _kept_answers(directory: Path) -> list[LoggedAnswer]:
    """Answers of every series in order, by the samples that records.parquet names."""
    import pyarrow.parquet as pq

    from loadgen_service.mlperf.audit.logs import LoggedAnswer
    from loadgen_service.qsl.logged_bytes import sample_bytes

    columns = ["series", "request_index", "sample_index"]
    samples: dict[tuple[int, int], list[int]] = {}
    for series, row, sample in zip(
        *pq.read_table(
            directory / "records.parquet", columns=columns, page_checksum_verification=True
        )
        .to_pydict()
        .values(),
        strict=True,
    ):
        samples.setdefault((series, row), []).append(sample)
    found = []
    for batch in pq.ParquetFile(
        directory / "responses.parquet", page_checksum_verification=True
    ).iter_batches():
        for series, row, response in zip(*batch.to_pydict().values(), strict=True):
            asked = samples.get((series, row), [])
            for sample, data in zip(asked, sample_bytes(response, len(asked) or 1), strict=False):
                found.append(LoggedAnswer(sample, data))
    return found


def _scored(given: argparse.Namespace, answers: Sequence[LoggedAnswer]) -> tuple[list[str], float]:
    """The lines to print, and the score that ``--target`` is about."""
    from loadgen_service.mlperf import accuracy_scores

    if given.labels:
        scores = accuracy_scores.class_scores(
            answers, _labels(Path(given.labels)), given.data_type or "float32"
        )
        return accuracy_scores.class_lines(scores), scores["top1"]
    if given.tokens:
        scores = accuracy_scores.token_scores(
            answers, _wanted(Path(given.tokens)), given.data_type or "int32"
        )
        return accuracy_scores.token_lines(scores), scores["exact_match"]
    values = _by_script(given.script, answers)
    said = ", ".join(f"'{name}': {value}" for name, value in values.items())
    return [f"{{{said}}}"], next(iter(values.values()))


def _labels(path: Path) -> list[int]:
    labels = []
    for number, line in enumerate(_text("labels", path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            labels.append(int(words[-1]))
        except ValueError:
            raise UserError(f"labels: {path} line {number} is not NAME LABEL: {line!r}") from None
    return labels


def _wanted(path: Path) -> dict[int, Sequence[int]]:
    try:
        found = json.loads(_text("tokens", path))
        items = found.items() if isinstance(found, dict) else enumerate(found)
        return {int(sample): [int(token) for token in tokens] for sample, tokens in items}
    except (ValueError, TypeError):
        raise UserError(f"tokens: {path} is not JSON of one list of tokens a sample") from None


def _text(flag: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{flag}: cannot read {path}: {reason}") from None


def _by_script(name: str, answers: Sequence[LoggedAnswer]) -> Mapping[str, float]:
    """Raises UserError naming a script that cannot be had, RunError for one that fails."""
    module, _, function = name.partition(":")
    sys.path.insert(0, "")  # a script beside the user, as with python -m
    try:
        script: Script = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"script {name}: {error}; give PKG.MODULE:FUNCTION") from None
    finally:
        sys.path.pop(0)
    try:
        values = {str(key): float(value) for key, value in dict(script(answers)).items()}
    except Exception as error:  # someone else's code
        raise RunError(f"script {name}: {type(error).__name__}: {error}") from None
    if not values:
        raise RunError(f"script {name}: gave no value; return {{name: value}}")
    return values


def _missing(directory: Path, answers: Sequence[LoggedAnswer]) -> int:
    """Samples of an accuracy run without an answer, as far as its detail log tells how many."""
    from loadgen_service.mlperf.audit.logs import read_detail_log
    from loadgen_service.mlperf.logs.writer import DETAIL_FILE

    if not (directory / DETAIL_FILE).is_file():
        return 0
    log = read_detail_log(directory)
    if log.text("effective_test_mode") not in ("AccuracyOnly", "SubmissionRun"):
        return 0
    wanted = log.number("effective_accuracy_sample_count") or 0
    return max(0, int(wanted) - len(answers))


def _keep(directory: Path, lines: Sequence[str]) -> None:
    path = (directory if directory.is_dir() else directory.parent) / SCORE_FILE
    try:
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make the directory writable") from None
