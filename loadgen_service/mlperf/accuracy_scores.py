"""Accuracy of logged answers, by the rules of MLPerf's own scripts (specification 5.4).

Of several answers to a sample the first counts. Reads no file: labels and answers come as values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from loadgen_service.errors import UserError
from loadgen_service.mlperf.audit.logs import LoggedAnswer
from loadgen_service.mlperf.audit.rules import DTYPES

TOP_COUNT = 5


def first_answers(answers: Iterable[LoggedAnswer]) -> list[LoggedAnswer]:
    """One answer a sample: the first that was logged."""
    found: dict[int, LoggedAnswer] = {}
    for one in answers:
        found.setdefault(one.sample_index, one)
    return list(found.values())


def class_scores(
    answers: Sequence[LoggedAnswer], labels: Sequence[int], dtype: str = "float32"
) -> dict[str, float]:
    """``top1``, ``top5`` (shares) and ``count`` over the answers, one a sample.

    One value is the class itself, cut to an integer, as in MLPerf's script; several are the scores
    of the classes, and of equal ones the lower class goes first. ``top5`` is absent where some
    answer has no ranks. Raises UserError for a sample without a label.
    """
    top1 = top5 = 0
    ranked = bool(answers)
    for one in answers:
        if not 0 <= one.sample_index < len(labels):
            raise UserError(
                f"labels: none for sample {one.sample_index}, there are {len(labels)}; "
                "give the list of the data set that was sent"
            )
        values = _values(one.data, dtype)
        if len(values) > 1:
            classes = np.argsort(-values.astype(np.float64), kind="stable")[:TOP_COUNT].tolist()
        else:
            classes = [int(value) for value in values]
            ranked = False
        top1 += classes[:1] == [labels[one.sample_index]]
        top5 += labels[one.sample_index] in classes
    if not answers:
        return {}
    scores = {"top1": top1 / len(answers), "count": float(len(answers))}
    return {**scores, "top5": top5 / len(answers)} if ranked else scores


def token_scores(
    answers: Sequence[LoggedAnswer], wanted: Mapping[int, Sequence[int]], dtype: str = "int32"
) -> dict[str, float]:
    """``exact_match`` (share of answers that are the wanted tokens, all of them and no other),
    ``tokens_per_sample`` and ``count``. Raises UserError for a sample without wanted tokens.
    """
    matched = tokens = 0
    for one in answers:
        if one.sample_index not in wanted:
            raise UserError(f"reference: no tokens for sample {one.sample_index}")
        found = _values(one.data, dtype).tolist()
        matched += found == list(wanted[one.sample_index])
        tokens += len(found)
    if not answers:
        return {}
    count = len(answers)
    return {
        "exact_match": matched / count,
        "tokens_per_sample": tokens / count,
        "count": float(count),
    }


def class_lines(scores: Mapping[str, float]) -> list[str]:
    """In the words of MLPerf's ImageNet script; a second line for top-5."""
    total = int(scores["count"])
    lines = []
    for name, word in (("top1", "accuracy"), ("top5", "top5")):
        if name in scores:
            good = round(scores[name] * total)
            lines.append(f"{word}={100 * scores[name]:.3f}%, good={good}, total={total}")
    return lines


def token_lines(scores: Mapping[str, float]) -> list[str]:
    """In the words of MLPerf's scripts for language models: shares are percentages."""
    return [
        f"{{'exact_match': {100 * scores['exact_match']:.4f}, "
        f"'tokens_per_sample': {scores['tokens_per_sample']:.4f}, "
        f"'gen_num': {int(scores['count'])}}}"
    ]


def _values(data: bytes, dtype: str) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    kind = np.dtype(DTYPES[dtype])
    if len(data) % kind.itemsize:
        raise UserError(
            f"data_type {dtype}: an answer of {len(data)} bytes holds no whole number of them; "
            "name the type that the SUT answers in"
        )
    return np.frombuffer(data, kind)
