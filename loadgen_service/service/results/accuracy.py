"""Accuracy of a run: kept responses joined with the samples that their requests carried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.qsl.scoring import TopScorer
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_reader import read_responses

Labels = np.ndarray[Any, np.dtype[Any]]


def score_series(
    directory: RunDirectory, plans: Sequence[SeriesPlan], labels: Labels
) -> dict[str, float]:
    """Top-1 and top-5 over all accuracy sets; a request without an answer counts as wrong.

    Raises RunError for responses that cannot be scored.
    """
    scorer = TopScorer(labels)
    for plan in plans:
        _score_one(scorer, directory, plan)
    return scorer.result()


def _score_one(scorer: TopScorer, directory: RunDirectory, plan: SeriesPlan) -> None:
    answered = np.zeros(plan.request_count, np.bool_)
    for row, response in read_responses(directory.segments(plan.spec.index)):
        if not 0 <= row < plan.request_count or answered[row]:
            continue  # a stranger or a double is the request table's business
        answered[row] = True
        scorer.add(_samples_of(plan, row), response)
    for row in np.flatnonzero(~answered).tolist():
        scorer.miss(_samples_of(plan, row))


def _samples_of(plan: SeriesPlan, row: int) -> Labels:
    start, stop = plan.request_span(row)
    return plan.samples[start:stop]
