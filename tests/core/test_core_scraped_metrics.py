"""Figures of scraped metrics over the measured window, and which addresses are accepted."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from loadgen_service.core.facts.scraped_metrics import (
    FIGURES_MAX,
    Instant,
    MetricFigures,
    ScrapedTarget,
    TargetReadings,
    instant_of,
)
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.authority import MetricsPlace, metrics_place

S = 1_000_000_000
GPU = "nv_gpu_utilization"
CPU = "process_cpu_seconds_total"


def taken(
    name: str, values: dict[float, float], windows: dict[int, int] | None = None
) -> list[MetricFigures]:
    """Figures of one metric of series 0 that had these values at these seconds."""
    readings = TargetReadings("http://a:1", {0: 10 * S} if windows is None else windows)
    for at_s, value in values.items():
        readings.take(Instant(0, int(at_s * S)), [(name, {}, value), ("unknown", {}, 1.0)])
    return readings.target().figures


def test_a_gauge_has_its_least_mean_and_most_of_the_window_alone() -> None:
    (one,) = taken(GPU, {-1: 0.0, 0: 0.5, 4: 0.75, 10: 1.0, 10.5: 0.0})
    assert (one.min, one.mean, one.max, one.count) == (0.5, 0.75, 1.0, 3)
    assert one.per_second is None


def test_a_counter_has_its_growth_a_second_between_its_first_and_last_reading() -> None:
    (one,) = taken(CPU, {-1: 0.0, 1: 100.0, 2: 101.0, 5: 106.0, 11: 900.0})
    assert (one.first, one.last, one.per_second) == (100.0, 106.0, 1.5)
    assert one.mean is None


@pytest.mark.parametrize(
    ("values", "went_back"), [({1: 5.0}, False), ({1: 5.0, 2: 1.0, 3: 9.0}, True)]
)
def test_a_counter_without_two_readings_or_that_went_back_has_no_rate(
    values: dict[float, float], went_back: bool
) -> None:
    (one,) = taken(CPU, values)
    assert one.per_second is None
    assert one.went_back is went_back


def test_a_value_that_is_no_number_is_left_out() -> None:
    (one,) = taken(GPU, {1: math.nan, 2: 0.5, 3: math.inf})
    assert (one.count, one.mean) == (1, 0.5)
    assert taken(GPU, {1: math.nan}) == []


def test_a_series_without_a_window_has_no_figures() -> None:
    assert taken(GPU, {1: 0.5}, windows={}) == []


def test_label_sets_stand_apart_in_one_order_and_beyond_the_limit_are_counted() -> None:
    readings = TargetReadings("http://a:1", {0: S})
    for reading in range(2):
        sets = [(GPU, {"gpu": f"{place:03d}"}, 1.0) for place in reversed(range(FIGURES_MAX + 1))]
        readings.take(Instant(0, reading), sets)
    target = readings.target()
    labels = [figures.labels["gpu"] for figures in target.figures]
    assert labels == sorted(labels)
    assert len(labels) == FIGURES_MAX
    assert target.unlisted_count == 2


def test_failures_are_counted_and_the_first_cause_stays() -> None:
    readings = TargetReadings("http://a:1", {})
    readings.fail("no connection")
    readings.fail("it answered 500")
    assert readings.target() == ScrapedTarget(
        url="http://a:1", scrape_count=0, failed_count=2, failure="no connection",
        unlisted_count=0, figures=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at_ns", "instant"),
    [(50, (0, -50)), (100, (0, 0)), (499, (0, 399)), (500, (1, 0)), (900, (1, 400))],
)
def test_an_instant_belongs_to_the_series_that_began_last(
    at_ns: int, instant: tuple[int, int]
) -> None:
    assert instant_of({0: 100, 1: 500}, at_ns) == instant


@pytest.mark.parametrize(
    ("url", "place", "authority"),
    [
        ("http://gpu-1:8002/metrics", ("gpu-1", 8002, "/metrics"), "gpu-1:8002"),
        ("http://10.0.0.1:8000", ("10.0.0.1", 8000, "/metrics"), "10.0.0.1:8000"),
        ("http://[::1]:9/a/b", ("::1", 9, "/a/b"), "[::1]:9"),
    ],
)
def test_an_address_has_host_port_and_path(
    url: str, place: tuple[str, int, str], authority: str
) -> None:
    assert metrics_place(url) == MetricsPlace(*place)
    assert metrics_place(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "gpu:8002/metrics",
        "https://gpu:8002/metrics",
        "http://gpu/metrics",
        "http://gpu:0/metrics",
        "http://gpu:65536/metrics",
        "http://me:secret@gpu:8002/metrics",
        "http://gpu:8002/metrics?token=secret",
        "http://gpu:8002/metrics#a",
        "http://gpu:8002/a b",
        "http://gpu:8002/a\r\nX-Forged: 1",
        "http://gpu:8002/metrics\n",
        "",
    ],
)
def test_any_other_address_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ValidationError, match="is no address of metrics") as refused:
        Settings(sut_metrics=[url])
    assert "\n" not in refused.value.errors()[0]["msg"]


def test_an_address_twice_and_too_many_are_refused() -> None:
    with pytest.raises(ValidationError, match="stands there twice"):
        Settings(sut_metrics=["http://a:1/metrics"] * 2)
    with pytest.raises(ValidationError, match="at most 64"):
        Settings(sut_metrics=[f"http://a:{port}" for port in range(1, 66)])
    with pytest.raises(ValidationError, match="greater than or equal to 100"):
        Settings(sut_metrics_interval_ms=99)
