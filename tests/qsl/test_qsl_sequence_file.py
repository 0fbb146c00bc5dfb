"""The file of sequences: both kinds of steps, and every mistake named by its line and step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError, SutError, UserError
from loadgen_service.qsl import TensorSpec, open_library
from loadgen_service.qsl.library import QuerySampleLibrary
from loadgen_service.qsl.sources.sequence_file import read_sequence_file

X = TensorSpec("X", "INT32", (-1, 2))


def written(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "seq.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts))
    return path


def opened(path: Path, *inputs: TensorSpec, **settings: Any) -> QuerySampleLibrary:
    asked = Settings(scenario="concurrency", sequences=str(path), **settings)
    return open_library(asked, inputs or (X,), True)


def step(*values: int) -> dict[str, Any]:
    return {"inputs": {"X": list(values)}}


def test_inputs_become_samples_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"sequence": [step(1, 2), step(3, 4)]}, "", {"sequence": [step(5, 6)]})
    library = opened(path)
    assert library.sequences is not None
    assert library.sequences.to_lists() == [[0, 1], [2]]
    assert (library.total_sample_count, library.performance_sample_count) == (3, 3)
    values = [np.frombuffer(library.sample(i)[0], "<i4").tolist() for i in range(3)]
    assert values == [[1, 2], [3, 4], [5, 6]]
    assert library.name == "seq.jsonl"


def test_samples_are_those_of_the_data_set(tmp_path: Path) -> None:
    path = written(tmp_path, {"sequence": [{"sample": 7}, {"sample": 0}, {"sample": 7}]})
    library = opened(path, total_sample_count=8)
    assert library.sequences is not None
    assert library.sequences.to_lists() == [[7, 0, 7]]
    assert (library.total_sample_count, library.performance_sample_count) == (8, 2)
    assert library.name == "random"


def test_a_sample_beyond_the_data_set_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"sequence": [{"sample": n} for n in range(9)]})
    with pytest.raises(UserError, match=r"names sample 8, random has samples 0 to 7"):
        opened(path, total_sample_count=8)


def test_inputs_beside_a_data_set_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"sequence": [step(1, 2)]})
    for given in ({"dataset": "zeros"}, {"total_sample_count": 3}):
        with pytest.raises(UserError, match="brings its own inputs; leave them out"):
            opened(path, **given)


def test_inputs_need_datatypes(tmp_path: Path) -> None:
    path = written(tmp_path, {"sequence": [step(1, 2)]})
    asked = Settings(scenario="concurrency", sequences=str(path))
    with pytest.raises(SutError, match=r"seq.jsonl has no datatypes: give --shape"):
        open_library(asked, (), True)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "holds none"),
        (("{",), "line 1: is not JSON"),
        (("[" * 100_000,), "line 1: is not JSON"),
        (([],), r'line 1: must be {"sequence": \[STEP, ...\]}'),
        (({"sequence": []},), "line 1: must be .* with at least one step"),
        (({"sequence": [step(1, 2)]}, {"sequence": 3}), "line 2: must be"),
        (({"sequence": [step(1, 2), {}]},), "line 1 step 1: must be"),
        (({"sequence": [{"inputs": {}, "sample": 1}]},), "line 1 step 0: must be"),
        (({"sequence": [{"inputs": [1]}]},), "line 1 step 0: inputs must be an object"),
        (({"sequence": [{"sample": -1}]},), "line 1 step 0: sample must be a whole number"),
        (({"sequence": [{"sample": True}]},), "sample must be a whole number from 0 on, not True"),
        (({"sequence": [{"sample": 2**40}]},), "sample must be a whole number"),
        (
            ({"sequence": [{"sample": 1}]}, {"sequence": [step(1, 2)]}),
            'line 2 step 0: has "inputs" where others have "sample"',
        ),
        (({"sequence": [step(1, 2, 3)]},), r"line 1 step 0 input 'X': 3 values"),
        (({"sequence": [step(1, 2), {"inputs": {"Y": [1]}}]},), "step 1 input 'X': missing"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(
    tmp_path: Path, lines: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        opened(written(tmp_path, *lines))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("sequences: ")


def test_a_file_too_large_for_a_message_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_service.qsl.sources.sequence_file.MOST_REQUESTS", 3)
    path = written(tmp_path, *([{"sequence": [{"sample": 0}, {"sample": 0}]}] * 2))
    with pytest.raises(UserError, match="has 4 requests, a run takes files of up to 3"):
        read_sequence_file(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadgenError, match=r"sequences: cannot read .*none.jsonl: No such file"):
        read_sequence_file(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(LoadgenError, match="is not UTF-8 text"):
        read_sequence_file(broken)
