"""Systems for the compliance tests: an honest one and two that cheat, as sut-server's classes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

SERVICE_S = 0.02
CATCH_UP_S = 0.5
ELEMENTS = 16


class Honest:
    """Doubles its input in constant time, whatever came before."""

    name = "honest"
    inputs = (("input", "FP32", [-1, ELEMENTS]),)
    outputs = (("output", "FP32", [-1, ELEMENTS]),)

    def load(self) -> None:
        """Nothing to load."""
        self._due_s = 0.0

    def infer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One sample after the other."""
        return {"output": np.stack([self.answer(row) for row in batch["input"]])}

    def answer(self, row: Any) -> Any:
        """The right answer, after the service time.

        Waking late does not put off the next answer: the rate is that of the service time on a
        busy machine too.
        """
        now_s = time.monotonic()
        begin_s = self._due_s if now_s - self._due_s < CATCH_UP_S else now_s
        self._due_s = begin_s + SERVICE_S
        time.sleep(max(0.0, self._due_s - now_s))
        return row * 2


class Caching(Honest):
    """Keeps every answer and gives it again at once when the same sample comes."""

    name = "caching"

    def load(self) -> None:
        """An empty cache."""
        super().load()
        self._known: dict[bytes, Any] = {}

    def answer(self, row: Any) -> Any:
        """From the cache, else as the honest one."""
        key = row.tobytes()
        if key not in self._known:
            self._known[key] = super().answer(row)
        return self._known[key]


class Careless(Honest):
    """Accurate until a sample comes twice, which happens in performance runs alone; then not."""

    name = "careless"

    def load(self) -> None:
        """Nothing seen."""
        super().load()
        self._seen: set[bytes] = set()

    def load_samples(self, sample_index: list[int]) -> None:
        """A new set is loaded: it may be an accuracy run's."""
        self._seen.clear()

    def answer(self, row: Any) -> Any:
        """Half the values are left out of what was seen before."""
        answer, key = super().answer(row), row.tobytes()
        if key in self._seen:
            answer = answer.copy()
            answer[ELEMENTS // 2 :] = 0
            answer[0] += 1
        self._seen.add(key)
        return answer
