"""Which responses a worker keeps: over all workers exactly those that LoadGen would log."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs, shard_rows
from loadgen_service.core.settings import Settings
from loadgen_service.mlperf.logs.accuracy_log import logged_samples
from loadgen_service.worker.records.response_sampling import kept_responses

COUNTS = SampleCounts(100, 100)


def plan_of(settings: Settings):
    return plan_series(settings, COUNTS, series_specs(settings, COUNTS)[-1])


@pytest.mark.parametrize("worker_count", [1, 3])
@pytest.mark.parametrize("samples_per_request", [1, 4])
def test_together_the_workers_keep_what_loadgen_logs(worker_count, samples_per_request):
    settings = Settings(
        scenario="offline", target_qps=50, min_duration_ms=1000, min_query_count=50,
        workers=worker_count, samples_per_request=samples_per_request,
        accuracy_log_probability=0.1, accuracy_log_rng_seed=3,
    )  # fmt: skip
    plan = plan_of(settings)
    logged = logged_samples(settings, COUNTS, plan)
    kept = np.zeros(plan.request_count, np.bool_)
    for index in range(worker_count):
        rows = shard_rows(plan, index, worker_count, settings)
        mask = kept_responses(settings, COUNTS, plan, rows)
        kept[np.asarray(rows)] = np.frombuffer(mask, np.bool_)
    assert 0 < logged.sum() < len(logged)
    for row in range(plan.request_count):
        start, stop = plan.request_span(row)
        assert kept[row] == logged[start:stop].any()


def test_accuracy_keeps_all_and_a_plain_run_nothing():
    for changes, expected in (
        ({"mode": "accuracy"}, True),
        ({"log_responses": True}, True),
        ({}, False),
    ):
        settings = Settings(scenario="offline", min_duration_ms=0, **changes)
        plan = plan_of(settings)
        assert kept_responses(settings, COUNTS, plan, range(plan.request_count)) is expected
