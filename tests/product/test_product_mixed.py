"""Mixed traffic by the real command: one start, a verdict a stream, and faults that stay apart."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from product_runs import Finished, Run, run
from sut_process import SutProcess, sut_server

from loadgen_service.__main__ import main

COMMON = {
    "model": "synthetic",
    "lease_timeout_ms": 120_000,
    "min_duration_ms": 2000,
    "total_sample_count": 32,
    # this host may be busy; these tests are about accounting, not about speed
    "issue_delay_budget_ms": 10_000,
    "target_latency_ms": 20_000,
    "timeout_ms": 60_000,
    "target_latency_percentile": 90,
}


@pytest.fixture(scope="module")
def suts() -> Iterator[tuple[SutProcess, SutProcess]]:
    with (
        sut_server("--model", "synthetic", "--service-time", "constant:2") as one,
        sut_server("--model", "synthetic", "--service-time", "constant:20") as two,
    ):
        yield one, two


def config(folder: Path, *streams: dict[str, Any], **top: Any) -> str:
    path = folder / "mixed.yaml"
    path.write_text(yaml.safe_dump({**COMMON, **top, "streams": list(streams)}))
    return str(path)


def stream(name: str, sut: SutProcess, **settings: Any) -> dict[str, Any]:
    return {"name": name, "sut": f"grpc://127.0.0.1:{sut.port}", "target_qps": 100, **settings}


def mixed_of(finished: Finished) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished.out / "mixed.json").read_text())
    return found


def by_name(finished: Finished) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in mixed_of(finished)["streams"]}


OF_A_BUSY_HOST = {"late_start"}
"""Findings that say of this host only that it was busy when the run began: run again."""
TRIES = 5


def unmet(stream: dict[str, Any]) -> set[str]:
    return {one["name"] for one in stream["summary"]["findings"] if not one["met"]}


def test_every_stream_has_its_own_rate_limit_and_verdict(
    tmp_path: Path, suts: tuple[SutProcess, SutProcess]
) -> None:
    streams = (
        stream("steady", suts[0], workers=2),
        stream("strict", suts[1], target_qps=50, target_latency_ms=5, timeout_ms=5000),
        stream("callers", suts[1], scenario="concurrency", concurrency=2),
    )
    finished = run(tmp_path / "out", "--config", config(tmp_path, *streams))
    assert finished.exit_code == 1, finished.said
    found = by_name(finished)
    assert unmet(found["strict"]) >= {"latency"}
    for one in found.values():
        assert one["exit_code"] == (0 if one["summary"]["valid"] else 1)
    assert unmet(found["steady"]) | unmet(found["callers"]) <= OF_A_BUSY_HOST
    assert "strict: server: latency:" in finished.said
    for one in found.values():
        counts = one["summary"]["counts"]["queries"]
        assert counts["completed"] == counts["issued"] > 0
    steady = found["steady"]["summary"]
    assert steady["counts"]["queries"]["planned"] == pytest.approx(100 * 2, rel=0.3)
    assert found["callers"]["summary"]["latency_ns"]["p50"] > 20_000_000
    for index, name in enumerate(found):
        table = pq.read_table(finished.out / "streams" / name / "records.parquet")
        assert set(table.column("stream").to_pylist()) == {index}


@pytest.fixture(scope="module")
def valid_run(
    tmp_path_factory: pytest.TempPathFactory, suts: tuple[SutProcess, SutProcess]
) -> Finished:
    """Two streams on three workers, one of them with a warm-up."""
    folder = tmp_path_factory.mktemp("valid")
    streams = (stream("a", suts[0], warmup_duration_ms=1000), stream("b", suts[1]))
    flags = ("--config", config(folder, *streams), "--workers", "3", "--json")
    for number in range(TRIES):
        finished = run(folder / str(number), *flags)
        if finished.exit_code == 0:
            return finished
        late = set().union(*(unmet(one) for one in by_name(finished).values()))
        assert late <= OF_A_BUSY_HOST, finished.said
    pytest.fail(f"the host was too busy {TRIES} times: {finished.said}")


def test_all_workers_begin_at_one_instant(valid_run: Finished) -> None:
    mixed = mixed_of(valid_run)
    assert mixed["start"]["worker_count"] == 3
    starts = []
    for name in ("a", "b"):
        journal = valid_run.out / "streams" / name / "journal.jsonl"
        entries = [json.loads(line) for line in journal.read_text().splitlines()]
        starts += [entry["t0_ns"] for entry in entries if entry["event"] == "start"][-1:]
    assert starts[0] == starts[1]
    assert [one["worker_count"] for one in mixed["streams"]] == [2, 1]
    assert mixed["together_ns"] >= 1_900_000_000
    assert (valid_run.out / "report.txt").read_text().startswith("VALID  mixed run")
    assert "streams/b/report.html" in (valid_run.out / "report.html").read_text()


def test_a_stream_that_cannot_begin_ends_all_of_them(
    tmp_path: Path, suts: tuple[SutProcess, SutProcess]
) -> None:
    streams = (stream("good", suts[0]), stream("odd", suts[1], model="unheard-of"))
    finished = run(tmp_path / "out", "--config", config(tmp_path, *streams))
    assert finished.exit_code == 2, finished.said
    assert "stream odd: " in finished.said
    assert "unheard-of" in finished.said
    assert "Traceback" not in finished.said
    assert "stream odd did not come to the common start" in finished.said
    assert not list(finished.out.rglob("records.parquet"))


def test_a_server_that_dies_spoils_its_own_stream_only(
    tmp_path: Path, suts: tuple[SutProcess, SutProcess]
) -> None:
    with sut_server("--model", "synthetic", "--service-time", "constant:2") as doomed:
        streams = (stream("good", suts[0]), stream("bad", doomed))
        going = Run(tmp_path / "out", "--config", config(tmp_path, *streams))
        going.wait_for("bad: server performance: issuing")
        os.kill(doomed.process.pid, signal.SIGKILL)
        finished = going.finish()
    assert finished.exit_code == 1, finished.said
    found = by_name(finished)
    assert unmet(found["good"]) <= OF_A_BUSY_HOST
    assert found["bad"]["summary"]["valid"] is False
    failed = found["bad"]["summary"]["counts"]["queries"]["failed"]
    assert failed > 0
    assert mixed_of(finished)["valid"] is False


def test_a_stop_cuts_every_stream_and_keeps_what_was_measured(
    tmp_path: Path, suts: tuple[SutProcess, SutProcess]
) -> None:
    streams = (stream("a", suts[0]), stream("b", suts[1]))
    given = config(tmp_path, *streams, min_duration_ms=60_000)
    going = Run(tmp_path / "out", "--config", given)
    going.wait_for("b: server performance: issuing")
    os.kill(going.pid, signal.SIGINT)
    finished = going.finish()
    assert finished.exit_code == 3, finished.said
    assert mixed_of(finished)["state"] == "INTERRUPTED"
    for one in by_name(finished).values():
        assert one["state"] == "INTERRUPTED"
        counts = one["summary"]["counts"]["queries"]
        ends = ("completed", "failed", "timed_out", "lost")
        assert counts["issued"] == sum(counts[name] for name in ends)
        assert counts["planned"] == counts["issued"] + counts["not_issued"]
        assert counts["completed"] < counts["planned"]


def test_a_mixed_run_is_told_again_and_never_taken_for_one_run(
    valid_run: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert '"format": "loadgen-mixed"' in valid_run.said
    out = str(valid_run.out)
    assert main(["report", out]) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines() if " VALID " in line] == ["a", "b"]
    assert "Common start: 3 workers" in told
    assert main(["report", f"{out}/streams/a"]) == 0
    assert main(["report", out, f"{out}/streams/a"]) == 2
    assert main(["compare", out, f"{out}/streams/a"]) == 2
    assert "holds a mixed run" in capsys.readouterr().err
    assert main(["compare", f"{out}/streams/a", f"{out}/streams/a"]) in (0, 1)


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ("chat", "streams: give a list"),
        ([{"model": "m"}], "streams[0]: name: give it a name"),
        ([{"name": "a", "modle": "m"}], "stream a: unknown setting modle"),
        ([{"name": "a", "out": "x"}], "stream a: out: is of the whole run"),
        ([{"name": "a", "sut": "grpc://h:1", "target_qps": -1}], "stream a: target_qps"),
        ([], "streams: name at least one"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(
    tmp_path: Path, streams: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(yaml.safe_dump({"streams": streams}))
    assert main(["run", "--config", str(path)]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1


def test_other_verbs_refuse_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text("streams: [{name: a}]\n")
    assert main(["run", "--each", "--config", str(path)]) == 2
    assert "only `loadgen run` takes several streams" in capsys.readouterr().err
