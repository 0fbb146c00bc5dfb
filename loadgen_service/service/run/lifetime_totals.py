"""Sums over the life of a service: what its runs scheduled, issued and settled, by SUT and worker.

They only grow, over any number of runs; they count requests, and know nothing of Prometheus.
Streams of mixed runs are summed by their names, other runs under ``""``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from loadgen_service.service.collect.live_stats import Issuing, LiveStats, Tally
from loadgen_service.service.run.run import Run

SUTS_MAX: Final = 64
"""Distinct addresses that are told apart; a service that is aimed at more adds them up."""

OTHER_SUT: Final = "other"

STREAMS_MAX: Final = 32
"""Distinct names of streams that are told apart; those of more are added up."""

OTHER_STREAM: Final = "other"

ByKind = dict[str, int]


@dataclass(slots=True)
class Sums:
    """Sums by (SUT address, series kind), by (worker index, series kind), and by kind."""

    by_sut: dict[tuple[str, str], Tally] = field(default_factory=dict)
    by_worker: dict[tuple[int, str], Issuing] = field(default_factory=dict)
    scheduled: ByKind = field(default_factory=dict)
    lost: ByKind = field(default_factory=dict)

    def copy(self) -> Sums:
        """An equal one that later runs do not change."""
        made = Sums(scheduled=dict(self.scheduled), lost=dict(self.lost))
        for sut_key, tally in self.by_sut.items():
            made.by_sut.setdefault(sut_key, Tally()).merge(tally)
        for worker_key, issuing in self.by_worker.items():
            made.by_worker.setdefault(worker_key, Issuing()).merge(issuing)
        return made

    def add(self, run: Run) -> None:
        """Add all series of a run; the SUTs and kinds that it will have, with zeros, too."""
        for kind in run.settings.series_kinds:
            self._begin(kind, run.sut_addresses)
        series = run.collector.live.values() if run.collector else ()
        for live in series:
            self._add_series(live, run.sut_addresses)

    def _begin(self, kind: str, addresses: list[str]) -> None:
        self.scheduled.setdefault(kind, 0)
        self.lost.setdefault(kind, 0)
        for address in addresses:
            self._tally(address, kind)

    def _tally(self, address: str, kind: str) -> Tally:
        key = (address, kind)
        if key not in self.by_sut and len({sut for sut, _ in self.by_sut}) >= SUTS_MAX:
            key = (OTHER_SUT, kind)
        return self.by_sut.setdefault(key, Tally())

    def _add_series(self, live: LiveStats, addresses: list[str]) -> None:
        self._begin(live.kind, addresses)
        self.scheduled[live.kind] += live.scheduled
        for index, tally in live.by_sut.items():
            known = 0 <= index < len(addresses)
            self._tally(addresses[index] if known else OTHER_SUT, live.kind).merge(tally)
        for worker_index, issuing in live.by_worker.items():
            self.by_worker.setdefault((worker_index, live.kind), Issuing()).merge(issuing)


class Totals:
    """The sums of all runs that are over, and of the one that is not."""

    def __init__(self) -> None:
        self._over: dict[str, Sums] = {"": Sums()}
        self._settled_run_ids: set[str] = set()
        self.outcomes: Counter[str] = Counter()

    def settle(self, run: Run) -> None:
        """Take in a run whose figures do not change any more; twice is once."""
        if run.run_id in self._settled_run_ids:
            return
        self._settled_run_ids.add(run.run_id)
        self.outcomes[run.outcome or "failed"] += 1
        sums = _of_stream(self._over, run.stream_name)
        sums.add(run)
        for live in run.collector.live.values() if run.collector else ():
            sums.lost[live.kind] += live.issued - live.all.settled

    def with_runs(self, runs: Iterable[Run], now_ns: int) -> dict[str, Sums]:
        """All sums by stream as of ``now_ns`` (the service's clock); ``runs``: those that are
        conducted."""
        sums = {stream: one.copy() for stream, one in self._over.items()}
        for run in runs:
            if run.run_id not in self._settled_run_ids:
                run.hear_workers(now_ns)
                _of_stream(sums, run.stream_name).add(run)
        return sums


def _of_stream(sums: dict[str, Sums], name: str) -> Sums:
    # the runs without a name are one of them
    known = name in sums or len(sums) <= STREAMS_MAX
    return sums.setdefault(name if known else OTHER_STREAM, Sums())
