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

Unit = Literal["share", "bytes", "W", "1", "cores", "1/s", "s"]
Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


class Known(NamedTuple):
    """A metric whose meaning is known.

    Of a counter only its growth a second says anything, of a histogram (or a summary) only what was
    added within the window. A histogram's name is that of its family, without ``_bucket``.
    """

    words: str
    unit: Unit
    kind: Literal["gauge", "counter", "histogram"] = "gauge"


KNOWN: Final[Mapping[str, Known]] = {
    # Triton's documentation of its metrics: utilisations are shares from 0 to 1
    "nv_gpu_utilization": Known("GPU utilisation", "share"),
    "nv_gpu_memory_used_bytes": Known("GPU memory used", "bytes"),
    "nv_gpu_memory_total_bytes": Known("GPU memory there is", "bytes"),
    "nv_gpu_power_usage": Known("GPU power", "W"),
    "nv_cpu_utilization": Known("CPU utilisation of the host", "share"),
    "nv_cpu_memory_used_bytes": Known("memory used of the host", "bytes"),
    "nv_inference_request_success": Known("requests answered well", "1/s", "counter"),
    # vLLM's documentation: the "perc" metrics are shares too, 1 is all of it
    "vllm:num_requests_running": Known("requests running", "1"),
    "vllm:num_requests_waiting": Known("requests waiting", "1"),
    "vllm:gpu_cache_usage_perc": Known("KV cache used", "share"),
    "vllm:kv_cache_usage_perc": Known("KV cache used", "share"),
    "vllm:time_to_first_token_seconds": Known("TTFT, as the server counts it", "s", "histogram"),
    "vllm:inter_token_latency_seconds": Known("ITL, as the server counts it", "s", "histogram"),
    "vllm:time_per_output_token_seconds": Known("ITL, as the server counts it", "s", "histogram"),
    "vllm:request_time_per_output_token_seconds": Known(
        "TPOT, as the server counts it", "s", "histogram"
    ),
    "vllm:request_queue_time_seconds": Known("waiting in the server's queue", "s", "histogram"),
    "vllm:e2e_request_latency_seconds": Known("latency in the server", "s", "histogram"),
    "vllm:prompt_tokens_total": Known("prompt tokens", "1/s", "counter"),
    "vllm:generation_tokens_total": Known("output tokens", "1/s", "counter"),
    "vllm:prefix_cache_queries_total": Known("prompt tokens sought in the cache", "1/s", "counter"),
    "vllm:prefix_cache_hits_total": Known("prompt tokens found in the cache", "1/s", "counter"),
    "vllm:num_preemptions_total": Known("requests preempted", "1/s", "counter"),
    "vllm:request_success_total": Known("requests answered well", "1/s", "counter"),
    # vllm-router 0.1 and sglang-router 0.3, by what they export
    "vllm_router_running_requests": Known("requests running, by worker", "1"),
    "vllm_router_processed_requests_total": Known("requests routed, by worker", "1/s", "counter"),
    "vllm_router_worker_health": Known("worker is healthy", "1"),
    "vllm_router_policy_decisions_total": Known("decisions of the policy", "1/s", "counter"),
    "vllm_router_generate_duration_seconds": Known("time in the router", "s", "histogram"),
    "smg_worker_requests_active": Known("requests running, by worker", "1"),
    "smg_worker_selection_total": Known("requests routed, by worker", "1/s", "counter"),
    "smg_worker_health": Known("worker is healthy", "1"),
    "smg_http_requests_total": Known("requests at the router", "1/s", "counter"),
    "smg_router_ttft_seconds": Known("TTFT, as the router counts it", "s", "histogram"),
    "llamacpp:requests_processing": Known("requests processing", "1"),
    "llamacpp:requests_deferred": Known("requests deferred", "1"),
    "process_resident_memory_bytes": Known("memory of the process", "bytes"),
    "process_cpu_seconds_total": Known("CPU of the process", "cores", "counter"),
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
    A histogram has ``added``, how much it counted between its first and last reading, and of that
    ``mean``, ``p50`` and ``p99``: by its buckets, linear within one, as Prometheus has it.
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
    added: int | None = None
    p50: float | None = None
    p99: float | None = None


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

_PARTS: Final = frozenset({"bucket", "sum", "count"})


@dataclass(slots=True)
class _Histogram:
    """First and last reading of a histogram's sum, count, and buckets by their upper bounds."""

    readings: int = 0
    first: dict[tuple[str, str], float] = field(default_factory=dict)
    last: dict[tuple[str, str], float] = field(default_factory=dict)
    went_back: bool = False

    def add(self, part: str, bound: str, value: float) -> None:
        self.readings += part == "count"
        key = (part, bound)
        self.went_back |= value < self.last.get(key, value)
        self.first.setdefault(key, value)
        self.last[key] = value

    def _added(self, part: str, bound: str = "") -> float:
        key = (part, bound)
        return self.last.get(key, 0.0) - self.first.get(key, 0.0)

    def figures(self, key: _Key) -> MetricFigures:
        """What was added from the first reading to the last."""
        count = 0 if self.went_back else int(self._added("count"))
        return MetricFigures(
            series_index=key[0],
            name=key[1],
            labels=dict(key[2]),
            count=self.readings,
            went_back=self.went_back,
            added=count,
            mean=self._added("sum") / count if count else None,
            p50=self._quantile(0.5, count),
            p99=self._quantile(0.99, count),
        )

    def _quantile(self, quantile: float, count: int) -> float | None:
        """By the buckets, linear within one; the largest bound where it lies beyond all."""
        bounds = sorted(_bound(le) for part, le in self.last if part == "bucket")
        if not count or not bounds:
            return None
        by_bound = {
            _bound(le): self._added("bucket", le) for part, le in self.last if part == "bucket"
        }
        wanted, below, lower = quantile * count, 0.0, 0.0
        for bound in bounds:
            upto = by_bound[bound]
            if upto >= wanted:
                if math.isinf(bound):
                    return lower
                share = (wanted - below) / (upto - below) if upto > below else 1.0
                return lower + (bound - lower) * share
            below, lower = upto, bound
        return lower


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


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
    _histograms: dict[_Key, _Histogram] = field(default_factory=dict)

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
            if not math.isfinite(value):
                continue
            base, _, part = name.rpartition("_")
            if name in KNOWN:
                key = (instant.series_index, name, tuple(sorted(labels.items())))
                if KNOWN[name].kind != "histogram":
                    self._add(key, instant.time_ns, value)
            elif part in _PARTS and base in KNOWN and KNOWN[base].kind == "histogram":
                own = sorted((k, v) for k, v in labels.items() if k != "le")
                self._add_part((instant.series_index, base, tuple(own)), part, labels, value)

    def _add(self, key: _Key, time_ns: int, value: float) -> None:
        known = self._values.get(key)
        if known is None:
            if len(self._values) + len(self._histograms) >= FIGURES_MAX:
                self._unlisted += 1
                return
            known = self._values[key] = _Values()
        known.add(time_ns, value)

    def _add_part(self, key: _Key, part: str, labels: Mapping[str, str], value: float) -> None:
        known = self._histograms.get(key)
        if known is None:
            if len(self._values) + len(self._histograms) >= FIGURES_MAX:
                self._unlisted += 1
                return
            known = self._histograms[key] = _Histogram()
        known.add(part, labels.get("le", ""), value)

    def target(self) -> ScrapedTarget:
        """What was taken in, by series, then in the order of ``KNOWN``, then by labels."""
        places = {name: place for place, name in enumerate(KNOWN)}
        both = (*self._values, *self._histograms)
        keys = sorted(both, key=lambda key: (key[0], places[key[1]], key[2]))
        return ScrapedTarget(
            url=self.url,
            scrape_count=self._scraped,
            failed_count=self._failed,
            failure=self._failure,
            unlisted_count=self._unlisted,
            figures=[
                _figures(key, self._values[key])
                if key in self._values
                else self._histograms[key].figures(key)
                for key in keys
            ],
        )


def _figures(key: _Key, values: _Values) -> MetricFigures:
    series_index, name, labels = key
    if KNOWN[name].kind == "counter":
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
