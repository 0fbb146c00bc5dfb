"""The search for the highest rate that keeps its latency promise (LoadGen, specification 2.1).

Says which rate to try next, given whether the last one passed; runs nothing and judges nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

from loadgen_service.core.settings import Settings

CEILING_QPS: Final = 1e7
"""LoadGen doubles for ever against a SUT that never fails; no worker of ours issues so much."""

Phase = Literal["base", "widen", "bisect", "done"]


class PeakSearch:
    """One search. Try ``next_qps``, tell ``record`` whether it passed, until ``next_qps`` is None.

    The base rate must pass; then the rate grows by ``step`` (1: doubles) until one fails; then the
    bracket [lower, upper) is halved until both agree to ``decimals`` decimals. ``peak_qps`` is the
    highest rate that passed and ``peak_run`` the place of its run, None if the base failed.
    """

    def __init__(
        self, base_qps: float, step: float, decimals: int, ceiling_qps: float = CEILING_QPS
    ) -> None:
        self.phase: Phase = "base"
        self.next_qps: float | None = base_qps
        self.peak_qps: float | None = None
        self.peak_run: int | None = None
        self.upper_qps: float | None = None
        self.run_count = 0
        self.ended_by: Literal["", "precision", "base_failed", "ceiling", "failed_run"] = ""
        self.messages = [
            "Starting FindPeakPerformance mode",
            f"FindPeakPerformance: Check validity of the base settings field: {base_qps:f}",
        ]
        """What LoadGen's detail log says of each step, in its words."""
        self._step = step
        self._scale = math.pow(10.0, decimals)
        self._ceiling_qps = ceiling_qps

    @classmethod
    def of(cls, settings: Settings) -> PeakSearch:
        """The search that the settings ask for, from their target_qps."""
        return cls(
            settings.target_qps,
            settings.find_peak_boundary_step_size,
            settings.find_peak_decimals_of_precision,
        )

    def record(self, passed: bool) -> None:
        """Take the judgement on the run at ``next_qps`` and choose the next rate.

        "Passed" is the performance constraint alone: not duration, count or early stopping.
        """
        tried = self.next_qps
        if tried is None:
            raise ValueError("the search is over: no run is awaited")
        if passed:
            self.peak_qps, self.peak_run = tried, self.run_count
        elif self.phase == "base":
            self._end("base_failed")
            return
        else:
            self.upper_qps = tried
        self.run_count += 1
        if self.upper_qps is None:
            self._widen()
        else:
            self._bisect()

    def abandon(self) -> None:
        """End here: a run could not be finished. The best run so far stands."""
        self._end("failed_run")

    def _widen(self) -> None:
        assert self.peak_qps is not None
        upper = self.peak_qps * (1 + self._step)
        if upper > self._ceiling_qps:
            self._end("ceiling")
            return
        self.phase, self.next_qps = "widen", upper
        self.messages.append(f"FindBoundaries: Checking fields [{self.peak_qps:f}, {upper:f})")

    def _bisect(self) -> None:
        lower, upper = self.peak_qps, self.upper_qps
        assert lower is not None
        assert upper is not None
        if self.phase == "widen":
            self.messages.append(f"FindPeakPerformance: Found boundaries: [{lower:f}, {upper:f})")
        self.phase = "bisect"
        if math.floor(lower * self._scale) + 1 >= math.floor(upper * self._scale):
            self._end("precision")
            self.messages.append(f"FindPeakPerformance: Found peak performance field: {lower:f}")
            return
        self.next_qps = lower + (upper - lower) / 2
        self.messages.append(
            "FindPeakPerformanceBinarySearch: Testing the mid value of bounds "
            f"[{lower:f}, {upper:f}): {self.next_qps:f}"
        )

    def _end(self, why: Literal["precision", "base_failed", "ceiling", "failed_run"]) -> None:
        self.phase, self.next_qps, self.ended_by = "done", None, why


def replay(settings: Settings, passed: Sequence[bool]) -> tuple[PeakSearch, list[tuple[str, ...]]]:
    """The search after runs of which ``passed`` tells, and what it said before each of them.

    The last entry, one more than there are runs, is what it said after the last.
    """
    search = PeakSearch.of(settings)
    said: list[tuple[str, ...]] = []
    heard = 0
    for one in passed:
        said.append(tuple(search.messages[heard:]))
        heard = len(search.messages)
        search.record(one)
    return search, [*said, tuple(search.messages[heard:])]


def ending(settings: Settings, search: PeakSearch) -> str:
    """Why a search has no settled peak, and what to do; empty where it has one."""
    limit = f"the {settings.latency_limit_ns / 1e6:g} ms limit"
    if settings.use_token_latencies:
        limit = "the limits of ttft and tpot"
    if search.ended_by == "precision":
        return ""
    if search.ended_by == "base_failed":
        return (
            f"find_peak: the first rate, {settings.target_qps:g} queries/s, does not keep {limit}; "
            "lower --target-qps"
        )
    if search.ended_by == "ceiling":
        return f"find_peak: no rate failed up to {CEILING_QPS:g} queries/s, so none is the peak"
    return "find_peak: the search was cut short; the peak is the best rate so far"
