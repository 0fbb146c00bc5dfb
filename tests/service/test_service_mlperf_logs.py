"""LoadGen's log files of our own runs: there when they should be, read as LoadGen's are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from loadgen_proto import loadgen_pb2 as pb
from service_bench import Bench, summary_of, with_service

from loadgen_service.mlperf.audit.logs import read_accuracy_log, read_detail_log
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE, TRACE_FILE

LOGS = (SUMMARY_FILE, DETAIL_FILE, ACCURACY_FILE)


def files_of(status: pb.RunStatus) -> list[str]:
    folder = Path(status.run_directory)
    return [name for name in (*LOGS, TRACE_FILE) if (folder / name).is_file()]


def test_an_accuracy_run_logs_every_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        status = await bench.finish(mode="accuracy", scenario="offline", strict_loadgen=True)
        folder = Path(status.run_directory)
        entries = json.loads((folder / ACCURACY_FILE).read_text())
        assert sorted(one["seq_id"] for one in entries) == list(range(64))
        assert {one["qsl_idx"] for one in entries} == set(range(64))
        for one in entries:
            logits = np.frombuffer(bytes.fromhex(one["data"]), "<f4")
            assert int(logits.argmax()) == one["qsl_idx"] % 10
        assert "No errors encountered" in (folder / SUMMARY_FILE).read_text()
        detail = read_detail_log(folder)
        assert detail.scenario == "Offline"
        assert detail.text("sut_name") == "Network SUT: fake"
        assert detail.number("effective_accuracy_sample_count") == 64

    with_service(tmp_path, test, monkeypatch)


def test_a_performance_run_with_two_workers_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        bench.worker()
        status = await bench.finish(workers=2, mlperf_logs=True, mlperf_trace=True)
        folder, summary = Path(status.run_directory), summary_of(status)
        assert files_of(status) == [*LOGS, TRACE_FILE]
        detail = read_detail_log(folder)
        assert detail.errors == ()
        assert detail.number("result_query_count") == summary.counts.queries.completed
        assert detail.text("result_validity") == ("VALID" if summary.loadgen_valid else "INVALID")
        assert read_accuracy_log(folder) == []
        trace = json.loads((folder / TRACE_FILE).read_text())["traceEvents"]
        began = [event for event in trace if event.get("ph") == "b"]
        assert len(began) == summary.counts.samples.completed
        fetched = bench.stub.FetchRun(pb.RunRequest(run_id=status.run_id), metadata=bench.metadata)
        assert {chunk.path async for chunk in fetched} >= {*LOGS, TRACE_FILE}

    with_service(tmp_path, test, monkeypatch)


def test_other_runs_have_none_and_say_why_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        plain = await bench.finish()
        assert files_of(plain) == []
        other = await bench.finish(arrivals="constant", mlperf_logs=True)
        assert files_of(other) == []
        assert (
            "no mlperf_log files were written: LoadGen has no constant arrivals, only poisson"
            in (summary_of(other).notes)
        )

    with_service(tmp_path, test, monkeypatch)
