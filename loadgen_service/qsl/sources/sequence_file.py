"""The file of ``--sequences``: JSONL, one sequence a line, in the order of its requests.

``{"sequence": [{"inputs": {NAME: values}}, ...]}`` brings its own samples, with values as in
perf_analyzer's JSON; ``{"sequence": [{"sample": INDEX}, ...]}`` takes those of ``--dataset``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.errors import SutError, UserError
from loadgen_service.qsl.sources.perf_analyzer_json import InputData, Step, input_data
from loadgen_service.qsl.tensors import TensorSpec

INPUTS: Final = "inputs"
SAMPLE: Final = "sample"
LARGEST_INDEX: Final = 2**31 - 1
MOST_REQUESTS: Final = 1 << 22
"""Of a file: every worker is told of each in one message, 8 bytes a request."""


@dataclass(frozen=True, slots=True)
class SequenceFile:
    """What one file holds. ``steps``: the inputs of its own samples, each with the place that
    brought it; empty where it names samples of a data set."""

    path: Path
    layout: SequenceSet
    steps: Sequence[Step]

    def source(self, wanted: Sequence[TensorSpec]) -> InputData:
        """Its own samples, converted for the model's inputs. Raises UserError, SutError."""
        if not wanted:
            raise SutError(
                f"the server's metadata lists no inputs and {self.path.name} has no datatypes: "
                "give --shape NAME:DATATYPE:DIM,DIM"
            )
        return input_data(self.path.name, self.steps, wanted)

    def require_within(self, sample_count: int, dataset: str) -> None:
        """Raise UserError where a sample is named that the data set does not have."""
        largest = int(self.layout.samples.max())
        if largest >= sample_count:
            raise UserError(
                f"sequences: {self.path} names sample {largest}, {dataset} has samples 0 to "
                f"{sample_count - 1}"
            )


def read_sequence_file(path: Path) -> SequenceFile:
    """Read and check a whole file. Raises UserError with one line naming the line and the step."""
    sequences: list[list[int]] = []
    steps: list[Step] = []
    kinds: set[str] = set()
    for where, line in _lines(path):
        indexes = []
        for number, step in enumerate(_steps(where, line)):
            place = f"{where} step {number}"
            kind = _kind(place, step)
            kinds.add(kind)
            if len(kinds) > 1:
                raise UserError(
                    f'{place}: has "{kind}" where others have "{(kinds - {kind}).pop()}"; '
                    "a file has one of the two throughout"
                )
            if kind == INPUTS:
                indexes.append(len(steps))
                steps.append((place, step[INPUTS]))
            else:
                indexes.append(step[SAMPLE])
        sequences.append(indexes)
    if not sequences:
        raise UserError(f'sequences: {path} holds none; give {{"sequence": [...]}} a line')
    layout = SequenceSet.of(sequences)
    if len(layout.samples) > MOST_REQUESTS:
        raise UserError(
            f"sequences: {path} has {len(layout.samples)} requests, a run takes files of up to "
            f"{MOST_REQUESTS}; lines are drawn again and again, so fewer do"
        )
    return SequenceFile(path, layout, steps)


def _lines(path: Path) -> list[tuple[str, Any]]:
    """(place, value) of every line that holds something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UserError(f"sequences: cannot read {path}: {reason}") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"sequences: {path} line {number}"
        try:
            found.append((where, json.loads(line)))
        except (ValueError, RecursionError):
            raise UserError(f"{where}: is not JSON") from None
    return found


def _steps(where: str, line: Any) -> list[Any]:
    steps = line.get("sequence") if isinstance(line, dict) else None
    if not isinstance(steps, list) or not steps:
        raise UserError(f'{where}: must be {{"sequence": [STEP, ...]}} with at least one step')
    return steps


def _kind(place: str, step: Any) -> str:
    """Which of the two a step is; its value is checked as far as no model is needed."""
    kinds = [kind for kind in (INPUTS, SAMPLE) if isinstance(step, dict) and kind in step]
    if len(kinds) != 1:
        raise UserError(f'{place}: must be {{"inputs": {{...}}}} or {{"sample": INDEX}}')
    value = step[kinds[0]]
    if kinds[0] == INPUTS and not isinstance(value, dict):
        raise UserError(f"{place}: inputs must be an object, NAME: values")
    if kinds[0] == SAMPLE and (type(value) is not int or not 0 <= value <= LARGEST_INDEX):
        raise UserError(f"{place}: sample must be a whole number from 0 on, not {value!r}")
    return kinds[0]
