"""One run, however many workers: the same samples, at the same instants, to the same SUTs."""

from __future__ import annotations

from pathlib import Path

from product_runs import Finished, run
from sut_process import sut_server


def _traffic(finished: Finished) -> list[tuple[int, int, int]]:
    columns = finished.columns("scheduled_ns", "sample_index", "sut_index")
    return sorted(zip(*(values.tolist() for values in columns.values()), strict=True))


def test_one_worker_and_four_issue_the_same_run(tmp_path: Path) -> None:
    with sut_server("--model", "null") as first, sut_server("--model", "null") as second:
        flags = (
            "--sut", f"grpc://{first.host_port},grpc://{second.host_port}",
            "--model", "null", "--scenario", "server", "--target-qps", "400",
            "--min-duration-ms", "2500", "--min-query-count", "100",
        )  # fmt: skip
        alone = run(tmp_path / "one", *flags, "--workers", "1")
        four = run(tmp_path / "four", *flags, "--workers", "4")
    assert alone.summary["plan_hash"] == four.summary["plan_hash"]
    assert len({worker["pid"] for worker in four.summary["workers"]}) == 4
    for worker in four.summary["workers"]:
        assert 0 <= worker["waited_share"] < 1  # told by any Linux, as steal is
        assert 0 <= worker["stolen_share"] < 1
    assert len(_traffic(alone)) > 900
    assert _traffic(alone) == _traffic(four)
    for finished in (alone, four):
        assert finished.finding("accounting")["met"], finished.said
