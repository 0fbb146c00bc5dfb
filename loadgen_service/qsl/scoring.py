"""Accuracy: responses to classes, classes against labels.

A response may carry several samples (a batched request), as raw bytes or as typed contents. Which
samples it answers is the caller's knowledge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Final

import numpy as np
from tritonclient.grpc import service_pb2

from loadgen_service.errors import RunError
from loadgen_service.qsl.tensors import BYTES, DTYPES, Array, decode_elements
from loadgen_service.qsl.typed_contents import typed_values

TOP_COUNT: Final = 5

PREFERRED_OUTPUTS: Final = ("logits", "probabilities", "scores", "output")
"""Which output is scored where a model has several; else the first."""


def output_arrays(response: bytes) -> dict[str, Array]:
    """Outputs by name of a serialised ModelInferResponse, each in its own shape.

    BYTES outputs are arrays of ``bytes`` objects; BF16 comes as FP32. Raises RunError for a message
    that is none, or whose contents do not fill its shapes.
    """
    try:
        message = service_pb2.ModelInferResponse.FromString(response)
    except Exception as error:  # protobuf's DecodeError differs between its implementations
        raise RunError(f"a response is no ModelInferResponse: {error}") from error
    arrays = {}
    for at, output in enumerate(message.outputs):
        if at < len(message.raw_output_contents):
            values = _from_raw(message.raw_output_contents[at], output.datatype)
        else:
            values = typed_values(output)
        shape = tuple(output.shape)
        if values is None or values.size != prod(shape):
            raise RunError(
                f"output {output.name!r}: its contents do not fill {output.datatype} {list(shape)}"
            )
        arrays[output.name] = values.reshape(shape)
    return arrays


def _from_raw(raw: bytes, datatype: str) -> Array | None:
    if datatype == BYTES:
        elements = decode_elements(raw)
        return None if elements is None else np.array(elements, object)
    dtype = DTYPES.get(datatype)
    if dtype is None or len(raw) % dtype.itemsize:
        return None
    values = np.frombuffer(raw, dtype)
    if datatype == "BF16":
        return (values.astype("<u4") << np.uint32(16)).view("<f4")
    return values


def sample_rows(output: Array, count: int) -> Array:
    """An output split into ``count`` samples: [count, values a sample]. Raises RunError."""
    if count < 1 or output.size % count or (output.ndim and output.size == 0):
        raise RunError(
            f"an output of shape {list(output.shape)} does not divide by {count} samples"
        )
    return output.reshape(count, -1)


def scored_output(outputs: Mapping[str, Array]) -> Array:
    """The output that carries the classes. Raises RunError if there is no output of numbers."""
    numbers = {name: array for name, array in outputs.items() if array.dtype.kind in "biuf"}
    for name in (*PREFERRED_OUTPUTS, *numbers):
        if name in numbers:
            return numbers[name]
    raise RunError("a response has no output of numbers to score")


def top_classes(rows: Array) -> Array:
    """Best classes of each sample, best first: int64 [n, 5 or fewer].

    One integer a sample is the class itself. Among equal scores the lower class goes first.
    """
    if rows.shape[1] == 1 and rows.dtype.kind in "iu":
        return rows.astype(np.int64)
    return np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :TOP_COUNT]


class TopScorer:
    """Counts right answers. A sample without a label is not counted."""

    def __init__(self, labels: Array) -> None:
        """``labels``: int64 class by sample index, negative where unknown."""
        self._labels = labels
        self._count = 0
        self._top1 = 0
        self._top5 = 0
        self._has_ranks = True

    def add(self, sample_indexes: Sequence[int] | Array, response: bytes) -> None:
        """Score the answer to these samples, in the request's order. Raises RunError."""
        indexes = np.asarray(sample_indexes, np.int64)
        rows = sample_rows(scored_output(output_arrays(response)), len(indexes))
        labels = self._labels[indexes]
        hits = (top_classes(rows) == labels[:, None]) & (labels >= 0)[:, None]
        self._count += int((labels >= 0).sum())
        self._top1 += int(hits[:, 0].sum())
        self._top5 += int(hits.any(axis=1).sum())
        self._has_ranks &= hits.shape[1] > 1

    def miss(self, sample_indexes: Sequence[int] | Array) -> None:
        """These samples got no answer: counted, and wrong."""
        labels = self._labels[np.asarray(sample_indexes, np.int64)]
        self._count += int((labels >= 0).sum())

    def result(self) -> dict[str, float]:
        """``top1`` and ``top5`` as shares of ``count`` samples; empty before any was scored.

        ``top5`` is absent where the model answers with a class and no ranks.
        """
        if not self._count:
            return {}
        scores = {"top1": self._top1 / self._count, "count": float(self._count)}
        if self._has_ranks:
            scores["top5"] = self._top5 / self._count
        return scores


def score_top(
    labels: Array, responses: Iterable[tuple[Sequence[int] | Array, bytes]]
) -> dict[str, float]:
    """``{"top1", "top5", "count"}`` over (sample indexes, response) pairs. Raises RunError."""
    scorer = TopScorer(labels)
    for sample_indexes, response in responses:
        scorer.add(sample_indexes, response)
    return scorer.result()
