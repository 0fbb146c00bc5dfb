"""Which of one worker's batches are taken in and which are on the disk. Pure: stores nothing.

Sequences count 1, 2, 3 ... over a worker's run. Each is taken once, whatever is sent again.
"""

from __future__ import annotations


class BatchLedger:
    """One worker's account. ``durable``: the newest batch that an earlier service had stored."""

    def __init__(self, worker_index: int, durable: int = 0) -> None:
        self._worker_index = worker_index
        self.accepted = durable
        self.durable = durable
        self.gaps: list[str] = []
        self._is_damaged = False

    def is_known(self, sequence: int) -> bool:
        """Whether it was taken in before: it is not stored again."""
        return sequence <= self.accepted

    def accept(self, sequence: int) -> None:
        """Take in a batch that is not known; those jumped over are named as a gap.

        Raises ValueError for a known one.
        """
        if self.is_known(sequence):
            raise ValueError(f"batch {sequence} was taken in before")
        if sequence > self.accepted + 1 and not self._is_damaged:
            self.gaps.append(self._gap(self.accepted + 1, sequence - 1))
        self.accepted = sequence
        self._is_damaged = False

    def note_damage(self) -> None:
        """The disk has damaged bytes here: batches that the next one jumps over did come."""
        self._is_damaged = True

    def settle(self, sequence: int) -> None:
        """The batch is on the disk, or the disk refused it and that is named elsewhere."""
        self.durable = max(self.durable, sequence)

    def missing(self, last_sequence: int) -> str:
        """What never came of the batches up to ``last_sequence``; ``""`` if all did."""
        return self._gap(self.durable + 1, last_sequence) if last_sequence > self.durable else ""

    def _gap(self, first: int, last: int) -> str:
        which = f"batch {first}" if first == last else f"batches {first} to {last}"
        return f"worker {self._worker_index}: {which} never came"
