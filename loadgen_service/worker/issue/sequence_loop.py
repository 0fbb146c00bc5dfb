"""The worker's loop where sequences are played: rows in place of positions, and ends by name.

Only runs with sequences come here. The pacer hears which request ended; a request is marked with
its sequence when it is issued, since only then it is known whether it is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from loadgen_service.core.pacing.sequence_pacer import SequencePacer
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.plan.series import UNBOUNDED_ROWS
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.sut.descriptor import Mark
from loadgen_service.sut.factory import descriptor_of
from loadgen_service.sut.interface import DONE, Parts
from loadgen_service.sut.read_coalescer import Read
from loadgen_service.worker.issue.loop import Answer, SeriesLoop
from loadgen_service.worker.issue.shard import Build, Shard

EVERY_ROW: Final = range(UNBOUNDED_ROWS)
"""Positions of a series with sequences are rows of its plan."""


class SequenceShard(Shard):
    """All rows of a plan with sequences; those of other workers are never asked for.

    ``mark`` turns a sample's ready request into one of a sequence.
    """

    def __init__(self, plan: SeriesPlan, build: Build, mark: Mark, pacer: SequencePacer) -> None:
        self._mark = mark
        self._step_of = pacer.step_of
        super().__init__(plan, EVERY_ROW, build)

    def _payloads(self) -> Callable[[int], Parts]:
        ready = super()._payloads()
        mark, step_of = self._mark, self._step_of

        def payload_of(row: int) -> Parts:
            first, last, sequence_id = step_of(row)
            return mark(ready(row), sequence_id, row == first, row == last)

        return payload_of


class SequenceLoop(SeriesLoop):
    """A ``SeriesLoop`` whose pacer is told of every end before it is counted."""

    def __init__(self, *, pacer: SequencePacer, **common: Any) -> None:
        super().__init__(pacer=pacer, **common)
        self._note_end = pacer.note_end

    def _settle(self, reads: Sequence[Read], event_count: int) -> list[Answer]:
        for _, events in reads:
            for event in events:
                if event[0] == DONE and event[1] in self._pending:
                    self._note_end(event[1], not event[2])
        return super()._settle(reads, event_count)

    def _give_up(self, key: int, status: Status, code: int, text: str) -> None:
        self._note_end(key, False)
        super()._give_up(key, status, code, text)


def sequence_shard(
    settings: Settings, plan: SeriesPlan, build: Build, pacer: SequencePacer
) -> SequenceShard:
    """The shard of a worker, whose requests are marked as the SUTs' protocol asks for."""
    mark = descriptor_of(settings).mark
    assert mark is not None, "the settings refuse sequences over other protocols"
    return SequenceShard(plan, build, mark, pacer)
