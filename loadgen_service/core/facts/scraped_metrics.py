"""What SUTs' Prometheus metrics say of a series: figures of the known ones over its window.

Readings come from ``--sut-metrics``; who read them, and how, is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from loadgen_service.core.units import NS_PER_S

FIGURES_MAX: Final = 200
"""Label sets of known metrics a target: a server with thousands has them in the Parquet file."""

Unit = Literal["share", "bytes", "W", "1", "cores", "1/s"]
Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


class Known(NamedTuple):
    """A metric whose meaning is known. ``counter``: only its growth a second says anything."""

    words: str
    unit: Unit
    counter: bool = False


KNOWN: Final[Mapping[str, Known]] = {
    # Triton's documentation of its metrics: utilisations are shares from 0 to 1
    "nv_gpu_utilization": Known("GPU utilisation", "share"),
    "nv_gpu_memory_used_bytes": Known("GPU memory used", "bytes"),
    "nv_gpu_memory_total_bytes": Known("GPU memory there is", "bytes"),
    "nv_gpu_power_usage": Known("GPU power", "W"),
    "nv_cpu_utilization": Known("CPU utilisation of the host", "share"),
    "nv_cpu_memory_used_bytes": Known("memory used of the host", "bytes"),
    "nv_inference_request_success": Known("requests answered well", "1/s", counter=True),
    # vLLM's documentation: the "perc" metrics are shares too, 1 is all of it
    "vllm:num_requests_running": Known("requests running", "1"),
    "vllm:num_requests_waiting": Known("requests waiting", "1"),
    "vllm:gpu_cache_usage_perc": Known("KV cache used", "share"),
    "vllm:kv_cache_usage_perc": Known("KV cache used", "share"),
    "llamacpp:requests_processing": Known("requests processing", "1"),
    "llamacpp:requests_deferred": Known("requests deferred", "1"),
    "process_resident_memory_bytes": Known("memory of the process", "bytes"),
    "process_cpu_seconds_total": Known("CPU of the process", "cores", counter=True),
}


class Instant(NamedTuple):
    """On the axis of records.parquet: ns since the start of the series; before it negative."""

    series_index: int
    time_ns: int


def instant_of(starts: Mapping[int, int], at_ns: int) -> Instant:
    """Place ``at_ns`` in the series that began last; what was before the first belongs to that.

    ``starts``: start by series index, at least one, on the clock of ``at_ns``.
    """
    begun = [(t0_ns, index) for index, t0_ns in starts.items() if t0_ns <= at_ns]
    t0_ns, index = max(begun) if begun else min((t0, index) for index, t0 in starts.items())
    return Instant(index, at_ns - t0_ns)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MetricFigures(_Part):
    """A known metric with one set of labels over the window of one series, in its own unit.

    A gauge has ``min``, ``mean`` and ``max`` of its finite values. A counter has ``first``,
    ``last`` and ``per_second`` between these two; null with one reading, or where ``went_back``.
    """

    series_index: int
    name: str
    labels: dict[str, str]
    count: int
    min: float | None = None
    mean: float | None = None
    max: float | None = None
    first: float | None = None
    last: float | None = None
    per_second: float | None = None
    went_back: bool = False


class ScrapedTarget(_Part):
    """One address of ``--sut-metrics`` over the whole run.

    ``failure``: the cause of the first reading that failed. ``unlisted_count``: values of known
    metrics beyond the first ``FIGURES_MAX`` label sets.
    """

    url: str
    scrape_count: int
    failed_count: int
    failure: str
    unlisted_count: int
    figures: list[MetricFigures]


@dataclass(slots=True)
class _Values:
    """Running figures; the memory of a metric does not grow with the readings."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    first: float = 0.0
    last: float = 0.0
    first_ns: int = 0
    last_ns: int = 0
    went_back: bool = False

    def add(self, time_ns: int, value: float) -> None:
        if not self.count:
            self.first, self.first_ns = value, time_ns
        self.went_back |= self.count > 0 and value < self.last
        self.last, self.last_ns = value, time_ns
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)

    def per_second(self) -> float | None:
        spent_ns = self.last_ns - self.first_ns
        if self.went_back or spent_ns <= 0:
            return None
        return (self.last - self.first) * NS_PER_S / spent_ns


_Key = tuple[int, str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class TargetReadings:
    """Takes the readings of one address in their order.

    ``windows_ns``: length of each series' measured window, from its start.
    """

    url: str
    windows_ns: Mapping[int, int]
    _scraped: int = 0
    _failed: int = 0
    _failure: str = ""
    _unlisted: int = 0
    _values: dict[_Key, _Values] = field(default_factory=dict)

    def fail(self, failure: str) -> None:
        """A reading that gave nothing."""
        self._failed += 1
        self._failure = self._failure or failure

    def take(self, instant: Instant, samples: Sequence[Sample]) -> None:
        """A whole reading; outside the windows it is counted and no more."""
        self._scraped += 1
        window_ns = self.windows_ns.get(instant.series_index, -1)
        if not 0 <= instant.time_ns <= window_ns:
            return
        for name, labels, value in samples:
            if name in KNOWN and math.isfinite(value):
                self._add((instant.series_index, name, tuple(sorted(labels.items()))),
                          instant.time_ns, value)  # fmt: skip

    def _add(self, key: _Key, time_ns: int, value: float) -> None:
        known = self._values.get(key)
        if known is None:
            if len(self._values) >= FIGURES_MAX:
                self._unlisted += 1
                return
            known = self._values[key] = _Values()
        known.add(time_ns, value)

    def target(self) -> ScrapedTarget:
        """What was taken in, by series, then in the order of ``KNOWN``, then by labels."""
        places = {name: place for place, name in enumerate(KNOWN)}
        keys = sorted(self._values, key=lambda key: (key[0], places[key[1]], key[2]))
        return ScrapedTarget(
            url=self.url,
            scrape_count=self._scraped,
            failed_count=self._failed,
            failure=self._failure,
            unlisted_count=self._unlisted,
            figures=[_figures(key, self._values[key]) for key in keys],
        )


def _figures(key: _Key, values: _Values) -> MetricFigures:
    series_index, name, labels = key
    if KNOWN[name].counter:
        return MetricFigures(
            series_index=series_index,
            name=name,
            labels=dict(labels),
            count=values.count,
            first=values.first,
            last=values.last,
            per_second=values.per_second(),
            went_back=values.went_back,
        )
    return MetricFigures(
        series_index=series_index,
        name=name,
        labels=dict(labels),
        count=values.count,
        min=values.least,
        mean=values.total / values.count,
        max=values.most,
    )
