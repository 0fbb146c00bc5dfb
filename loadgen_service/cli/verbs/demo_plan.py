"""What the demonstration runs: short runs whose sizes follow from what the machine can do. Pure.

A fixed rate would be too much for one machine and too little for another, so every run after the
first is sized by the latency that the one before it measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import MS_PER_S

MODEL: Final = "efficientnet-lite0"
DATASET: Final = "imagenet-sample"

ACCURACY_TARGET: Final = 0.8
"""The model answers 18 of the 20 images right; two more may fall to another runtime's rounding."""

SERVER_LOAD: Final = 0.35
"""Share of the SUT's one-by-one rate: a queue forms now and then, and drains."""
SERVER_QUERIES: Final = 700
"""p99 at 99 % confidence wants 459 queries in time, 662 with one late."""
BURST_QUERIES: Final = 3
BURST_LOAD: Final = 0.5
BURSTS: Final = 200
"""p95 at 99 % confidence wants 90 bursts in time."""
STREAM_SAMPLES: Final = 4
LATENCY_SLACK: Final = 30.0
"""Latency limit in service times: the demonstration shares its processors with the generator."""

RELAXED: Final = (
    "durations of a few seconds (a submission: 600 s)",
    f"multi_stream: {STREAM_SAMPLES} samples a query and p90 (MLPerf: 8 and p99)",
    "burst: p95 (a default run: p99)",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the demonstration and the words that announce it."""

    words: str
    settings: Settings


def first_step(address: str) -> Step:
    """Accuracy of every labelled image, one after the other."""
    return _step(
        address,
        "accuracy: every labelled image, one after the other",
        scenario="single_stream",
        mode="accuracy",
        accuracy_target=ACCURACY_TARGET,
    )


def second_step(address: str, cold_latency_ms: float) -> Step:
    """single_stream: what one image costs, once the model is warm."""
    return _step(
        address,
        "single_stream: one image after the other",
        scenario="single_stream",
        # a promise far below what was seen cold, so that the list of queries does not run out
        expected_latency_ms=cold_latency_ms / 8,
        min_duration_ms=4000,
    )


def later_steps(address: str, latency_ms: float) -> list[Step]:
    """The other four scenarios, sized for a SUT that answers one image in ``latency_ms``."""
    rate_qps = MS_PER_S / latency_ms
    limit_ms = round(max(100.0, LATENCY_SLACK * latency_ms))
    server_qps = round(SERVER_LOAD * rate_qps, 1)
    period_ms = round(BURST_QUERIES * latency_ms / BURST_LOAD, 1)
    return [
        _step(
            address,
            f"multi_stream: {STREAM_SAMPLES} images at a time",
            scenario="multi_stream",
            samples_per_query=STREAM_SAMPLES,
            expected_latency_ms=latency_ms,
            target_latency_percentile=90,
            min_duration_ms=5000,
        ),
        _step(
            address,
            f"server: Poisson arrivals at {server_qps:g} queries/s, p99 within {limit_ms} ms",
            scenario="server",
            target_qps=server_qps,
            target_latency_ms=limit_ms,
            min_duration_ms=round(SERVER_QUERIES / server_qps * MS_PER_S),
        ),
        _step(
            address,
            "offline: everything at once, as fast as it goes",
            scenario="offline",
            target_qps=round(2 * rate_qps, 1),
            min_duration_ms=3000,
        ),
        _step(
            address,
            f"burst: {BURST_QUERIES} at an instant, every {period_ms:g} ms",
            scenario="burst",
            burst_query_count=BURST_QUERIES,
            burst_period_ms=period_ms,
            target_latency_ms=limit_ms,
            target_latency_percentile=95,
            min_duration_ms=round(BURSTS * period_ms),
        ),
    ]


def _step(address: str, words: str, **values: object) -> Step:
    given = {"sut": [f"grpc://{address}"], "model": MODEL, "dataset": DATASET, **values}
    return Step(words, Settings.model_validate(given))
