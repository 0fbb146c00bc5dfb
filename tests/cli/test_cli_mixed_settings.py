"""The streams of a settings file: who gets which workers, and arrivals of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from loadgen_service.cli.mixed_settings import read_streams
from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.mixed_streams import StreamSettings

COMMON = {"sut": "grpc://h:1", "model": "m", "target_qps": 100, "min_duration_ms": 2000}
COUNTS = SampleCounts(64, 64)


def streams_of(
    folder: Path, *streams: dict[str, object], flags: dict[str, object] | None = None, **top: object
) -> list[StreamSettings]:
    path = folder / "mixed.yaml"
    named = [{"name": f"s{i}", **one} for i, one in enumerate(streams)]
    path.write_text(yaml.safe_dump({**COMMON, **top, "streams": named}))
    return read_streams(str(path), flags or {}, {"LOADGEN_TARGET_LATENCY_MS": "77"})


def due_ns(settings: Settings) -> np.ndarray:
    return plan_series(settings, COUNTS, series_specs(settings, COUNTS)[0]).scheduled_ns


def test_streams_of_one_rate_do_not_ask_at_the_same_instants(tmp_path: Path) -> None:
    one, other = streams_of(tmp_path, {}, {})
    # the first of each is due at 0 by LoadGen's rule
    assert np.intersect1d(due_ns(one.settings), due_ns(other.settings)).tolist() == [0]
    alone = Settings.model_validate({**COMMON, "sut": ["grpc://h:1"]})
    np.testing.assert_array_equal(due_ns(one.settings), due_ns(alone))


def test_the_same_file_gives_the_same_arrivals(tmp_path: Path) -> None:
    first, again = streams_of(tmp_path, {}, {}), streams_of(tmp_path, {}, {})
    assert first == again


@pytest.mark.parametrize("place", ["top", "stream", "flag"])
def test_a_seed_that_was_given_stands(tmp_path: Path, place: str) -> None:
    seed = {"schedule_rng_seed": 5}
    top, own, flags = ({} if place != name else seed for name in ("top", "stream", "flag"))
    found = streams_of(tmp_path, own, own, flags=flags, **top)
    assert [one.settings.schedule_rng_seed for one in found] == [5, 5]


def test_the_stream_wins_over_the_top_and_flags_over_both(tmp_path: Path) -> None:
    one, other = streams_of(tmp_path, {"target_qps": 7}, {}, flags={"min_duration_ms": 9})
    assert (one.settings.target_qps, other.settings.target_qps) == (7, 100)
    assert {s.settings.min_duration_ms for s in (one, other)} == {9}
    assert {s.settings.target_latency_ms for s in (one, other)} == {77}


def test_workers_beside_the_streams_are_those_of_all(tmp_path: Path) -> None:
    found = streams_of(tmp_path, {"workers": 2}, {}, {}, workers=6)
    assert [one.settings.workers for one in found] == [2, 2, 2]
