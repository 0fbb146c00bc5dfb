"""Notes beside the verdict: CPU steal and run-queue wait, and requests that were sent again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

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


class Resending(Protocol):
    """A worker's part in a series, as facts or as summary."""

    @property
    def resent_count(self) -> int: ...


def resent_notes(workers: Iterable[Resending]) -> list[str]:
    """One line where requests were sent again; none usually."""
    count = sum(worker.resent_count for worker in workers)
    if not count:
        return []
    requests = "1 request was" if count == 1 else f"{count:,} requests were"
    return [
        f"{requests} sent again: the SUT or a proxy ended the connection or refused the "
        "stream without processing it; latencies count from the scheduled instant"
    ]
