"""What is read in an answer once its instant is recorded: its content and the SUT's timings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen_service.sut.kserve.server_timings import find_timings
from loadgen_service.worker.records.record_log import RecordLog

TIMINGS_MISSED_MAX: Final = 64
"""So many first answers without server timings, and no more are searched."""

Answer = tuple[int, int, bytes]
"""Place in the record log, position, message."""


class AnswerReader:
    """Keeps responses and notes server timings; ``is_reading`` is false once neither is wanted.

    ``responses``: position and message of those kept and not taken yet, ``response_bytes`` their
    size.
    """

    def __init__(self, log: RecordLog, keep: bool | bytes) -> None:
        """``keep``: all, none, or those of the positions where a byte is not 0."""
        self._log = log
        self._keeps = bool(keep)
        self._ones = keep if isinstance(keep, bytes) else None
        self._missed = 0
        self.is_reading = True
        self.responses: list[tuple[int, bytes]] = []
        self.response_bytes = 0

    def read(self, answers: Sequence[Answer]) -> None:
        """Look into answers whose rows are still in the log's block."""
        if self._keeps:
            ones = self._ones
            for _, key, message in answers:
                if ones is None or ones[key]:
                    self.responses.append((key, message))
                    self.response_bytes += len(message)
        if self._missed < TIMINGS_MISSED_MAX:
            self._note_timings(answers)

    def _note_timings(self, answers: Sequence[Answer]) -> None:
        for index, _, message in answers:
            timings = find_timings(message)
            if timings is None:
                self._missed += 1
                continue
            self._missed = 0
            self._log.note_timings(index, timings)
        self.is_reading = self._keeps or self._missed < TIMINGS_MISSED_MAX

    def take(self) -> list[tuple[int, bytes]]:
        """What was kept since the last call."""
        kept, self.responses, self.response_bytes = self.responses, [], 0
        return kept
