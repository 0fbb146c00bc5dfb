"""Words for processor time that others took from the workers while they measured.

A run of a busy host is no less valid by LoadGen's rules; its tail holds the host's pauses, and a
reader who is not told takes them for the system's.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadgen_service.core.facts.run import WorkerFacts
from loadgen_service.core.facts.worker_report import WorkerReport
from loadgen_service.core.figures.figure import figures_of
from loadgen_service.core.summary.parts import WorkerSummary


def contention_notes(workers: Sequence[WorkerFacts | WorkerSummary]) -> list[str]:
    """One line for each worker that others took much time from; none usually."""
    return [
        f"worker {one.worker_index} on {one.host or '-'}: {said}; "
        "latencies of this run hold such pauses"
        for one in workers
        if (said := contention_words(one))
    ]


def contention_words(worker: WorkerReport) -> str:
    """What was taken from one worker, empty if it is not worth a word."""
    figures = figures_of(WorkerReport)
    told = (figure.told(getattr(worker, name)) for name, figure in figures.items())
    return " and ".join(filter(None, told))
