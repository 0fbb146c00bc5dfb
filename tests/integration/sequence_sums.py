"""Sequences of numbers for a model that adds them up, and the proof that it was sent them in order.

The model answers INT64 "sum" and "step" of its sequence so far.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tritonclient.grpc import service_pb2

FILE = [[1, 20, 300], [4_000], [50_000, 600_000, 7_000_000, 80_000_000], [5] * 9]
"""No two beginnings have one sum, so a wrong order shows."""


def written(path: Path) -> Path:
    """The sequences as a file for ``--sequences``."""
    steps = [[{"inputs": {"input": [value]}} for value in one] for one in FILE]
    path.write_text("".join(json.dumps({"sequence": one}) + "\n" for one in steps))
    return path


def columns(out: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(out / "records.parquet")
    return {name: table.column(name).to_numpy() for name in table.column_names}


def answers(out: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """(sum, step) by series and request."""
    found = {}
    for one in pq.read_table(out / "responses.parquet").to_pylist():
        message = service_pb2.ModelInferResponse.FromString(one["response"])
        numbers = [int(np.frombuffer(raw, "<i8")[0]) for raw in message.raw_output_contents]
        found[one["series"], one["request_index"]] = (numbers[0], numbers[1])
    return found


def sums_are_right(out: Path) -> int:
    """Every answer is the sum of its sequence so far; the number of sequences."""
    rows, found = columns(out), answers(out)
    values = [value for one in FILE for value in one]
    so_far: dict[int, list[int]] = defaultdict(list)
    order = np.lexsort((rows["sequence_step"], rows["sequence_id"]))
    for at in order:
        key = int(rows["sequence_id"][at])
        so_far[key].append(values[rows["sample_index"][at]])
        assert int(rows["sequence_step"][at]) == len(so_far[key]) - 1
        answer = found[int(rows["series"][at]), int(rows["request_index"][at])]
        assert answer == (sum(so_far[key]), len(so_far[key]))
    whole = {tuple(one) for one in FILE}
    assert all(any(tuple(sent) == one[: len(sent)] for one in whole) for sent in so_far.values())
    return len(so_far)
