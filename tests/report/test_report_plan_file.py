"""plan.parquet: one row a sample, the same as the plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError
from loadgen_service.report.plan_parquet import write_plan

COUNTS = SampleCounts(total=60, performance=24)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
@pytest.mark.parametrize("mode", ["performance", "accuracy"])
def test_file_holds_every_sample_of_every_series(tmp_path: Path, scenario: str, mode: str) -> None:
    ours = Settings(
        scenario=scenario, mode=mode, target_qps=100, min_duration_ms=500, sut=["a", "b"],
        expected_latency_ms=5, warmup_duration_ms=50,
    )  # fmt: skip
    rows = write_plan(tmp_path / "plan.parquet", ours, COUNTS)
    table = pq.read_table(tmp_path / "plan.parquet").to_pydict()
    plans = [plan_series(ours, COUNTS, spec) for spec in series_specs(ours, COUNTS)]
    assert rows == len(table["series"]) == sum(len(plan.samples) for plan in plans)
    assert table["sample_index"] == np.concatenate([plan.samples for plan in plans]).tolist()
    first = plans[0]
    queries = np.arange(len(first.samples)) // first.samples_per_query
    count = len(queries)
    assert table["series"][:count] == [0] * count
    assert table["query_index"][:count] == queries.tolist()
    assert table["scheduled_ns"][:count] == first.scheduled_ns[queries].tolist()
    suts = [-1] * count if scenario == "offline" else first.sut_index[queries].tolist()
    assert table["sut_index"][:count] == suts


def test_unwritable_place_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write the plan"):
        write_plan(tmp_path / "missing" / "plan.parquet", Settings(), COUNTS)
    assert list(tmp_path.iterdir()) == []
