"""What a real Prometheus holds of a run equals the run's own exact figures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from scraped_run import Scraped

BUCKETS_A_DOUBLING = 4
SINCE = "[10m]"

# a window over the whole run: the last value of each counter, which began at 0
LAST = "last_over_time({metric}{{{labels}}}" + SINCE + ")"


def last(scraped: Scraped, metric: str, labels: str, total: str = "sum") -> float:
    return scraped.server.value(f"{total}({LAST.format(metric=metric, labels=labels)})")


def performance(scraped: Scraped) -> dict[str, np.ndarray]:
    """Columns of the measured series; one row a sample, one sample a request here."""
    names = ["series", "status", "sut_index", "scheduled_ns", "issued_ns", "completed_ns"]
    table = pq.read_table(scraped.out / "records.parquet", columns=names)
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in names}
    measured = columns["series"] == 1
    return {name: column[measured] for name, column in columns.items()}


def test_the_last_scrape_is_waited_for(scraped):
    assert "nobody scraped" not in scraped.said


def test_counts_are_equal(scraped, capsys):
    summary = scraped.summary
    exact = summary["counts"]["requests"]
    shown = {
        status: last(scraped, "loadgen_requests_total", f'kind="performance",status="{status}"')
        for status in ("completed", "failed", "timed_out")
    }
    issued = last(scraped, "loadgen_requests_issued_total", 'kind="performance"')
    scheduled = last(scraped, "loadgen_requests_scheduled_total", 'kind="performance"')
    with capsys.disabled():
        print(f"\nscraped {shown} issued {issued:.0f}; exact {exact}")
    assert shown == {status: exact[status] for status in shown}
    assert exact["completed"] > 500
    assert issued == exact["planned"] - exact["not_issued"]
    assert scheduled == exact["planned"]
    assert last(scraped, "loadgen_requests_lost_total", 'kind="performance"') == exact["lost"] == 0
    assert last(scraped, "loadgen_runs_total", "") == 1


def test_counts_of_each_sut_are_equal(scraped):
    for sut in scraped.summary["suts"]:
        labels = f'kind="performance",status="completed",sut="{sut["address"]}"'
        assert last(scraped, "loadgen_requests_total", labels) == sut["requests"]["completed"]


@pytest.mark.parametrize(
    ("metric", "end", "start"),
    [
        ("loadgen_latency_seconds", "completed_ns", "scheduled_ns"),
        ("loadgen_service_time_seconds", "completed_ns", "issued_ns"),
        ("loadgen_issue_delay_seconds", "issued_ns", "scheduled_ns"),
    ],
)
def test_every_bucket_is_equal(scraped, metric, end, start):
    columns = performance(scraped)
    spans = (columns[end] - columns[start])[columns[end] >= 0]
    rows = scraped.server.query(
        f'sum by (le) (last_over_time({metric}_bucket{{kind="performance"}}{SINCE}))'
    )
    shown = {float(row["metric"]["le"]): float(row["value"][1]) for row in rows}
    assert len(shown) > 80
    exact = {le: int((spans <= round(le * 1e9)).sum() if le < 1e9 else len(spans)) for le in shown}
    assert shown == exact
    total = last(scraped, f"{metric}_sum", 'kind="performance"')
    assert total == pytest.approx(spans.sum() / 1e9)


def test_quantiles_are_within_a_bucket(scraped, capsys):
    bounds = sorted(
        float(row["metric"]["le"])
        for row in scraped.server.query(
            f"sum by (le) (last_over_time(loadgen_latency_seconds_bucket{SINCE}))"
        )
    )
    for sut in scraped.summary["suts"]:
        for quantile, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99")):
            shown = scraped.server.value(
                f"histogram_quantile({quantile}, last_over_time(loadgen_latency_seconds_bucket"
                f'{{kind="performance",sut="{sut["address"]}"}}{SINCE}))'
            )
            exact = sut["latency_ns"][name] / 1e9
            with capsys.disabled():
                print(f"{sut['address']} {name}: scraped {shown:.6f} s, exact {exact:.6f} s")
            low, high = next(pair for pair in pairwise([0, *bounds]) if pair[0] < exact <= pair[1])
            # the place of a quantile among n values differs by one between the two definitions
            width = high - low
            assert low - width <= shown <= high + width


def test_warm_up_is_told_apart(scraped):
    (warmup,) = [one for one in scraped.summary["series"] if one["kind"] == "warmup"]
    shown = last(scraped, "loadgen_requests_total", 'kind="warmup",status="completed"')
    assert shown == warmup["counts"]["requests"]["completed"] > 0


def test_the_verdict_and_the_run_are_shown(scraped):
    summary = scraped.summary
    verdict = "valid" if summary["valid"] else "invalid"
    assert last(scraped, "loadgen_run_verdict", f'verdict="{verdict}"') == 1
    assert last(scraped, "loadgen_run_state", 'state="done"') == 1
    (info,) = scraped.server.query(f"last_over_time(loadgen_run_info{SINCE})")
    assert info["metric"]["run_id"] == summary["run_id"]


def test_no_other_metric_carries_the_run_id(scraped):
    run_id = scraped.summary["run_id"]
    (carriers,) = scraped.server.query(f'count(last_over_time({{run_id="{run_id}"}}{SINCE}))')
    assert carriers["value"][1] == "1"
