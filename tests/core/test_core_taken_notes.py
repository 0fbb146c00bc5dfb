"""When a run says that others took its workers' processors, and in which words."""

from __future__ import annotations

import pytest

from loadgen_service.core.facts.run import WorkerFacts
from loadgen_service.core.verdict.findings.notes import contention_notes, contention_words


@pytest.mark.parametrize(
    ("stolen", "waited", "words"),
    [
        (None, None, ""),
        (0.0, 0.0, ""),
        (0.0099, 0.0499, ""),
        (0.01, 0.0, "the hypervisor took 1.0% of its processors' time"),
        (None, 0.05, "it waited 5.0% of the time for a processor"),
        (0.16, 0.3, "the hypervisor took 16.0% of its processors' time and it waited 30.0% of the "
         "time for a processor"),
    ],
)  # fmt: skip
def test_small_shares_are_not_worth_a_word(stolen, waited, words):
    assert contention_words(WorkerFacts(0, stolen_share=stolen, waited_share=waited)) == words


def test_each_worker_that_suffered_has_a_line():
    workers = [WorkerFacts(0, host="a"), WorkerFacts(1, host="b", stolen_share=0.02)]
    (note,) = contention_notes(workers)
    assert note.startswith("worker 1 on b: the hypervisor took 2.0%")
    assert "pauses" in note
