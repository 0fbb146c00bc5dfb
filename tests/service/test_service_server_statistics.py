"""A service asks for the SUTs' own counts around each series, and no answer stops a run."""

from __future__ import annotations

from typing import Any

from loadgen_proto import loadgen_pb2 as pb
from service_bench import Bench, failed_findings, summary_of
from tritonclient.grpc import service_pb2


def counted(requests: int) -> pb.ControlReply:
    message = service_pb2.ModelStatisticsResponse()
    one = message.model_stats.add(
        name="fake", version="1", inference_count=requests, execution_count=requests
    )
    one.inference_stats.success.count = requests
    one.inference_stats.success.ns = requests * 400_000
    told = pb.SutStatistics(sut_index=0, kserve_statistics=message.SerializeToString())
    return pb.ControlReply(statistics=[told])


def statistics_calls(calls: list[str]) -> int:
    return calls.count("control statistics")


def test_two_readings_make_the_series_figures(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        worker = bench.worker(readings=[counted(7), counted(1007)])
        summary = summary_of(await bench.finish())
        told = summary.suts[0].server_statistics
        assert told is not None
        assert told.models[0].sample_count == 1000
        assert told.server_ns == 400_000
        assert told.surplus_count == 1000 - summary.counts.requests.completed
        assert statistics_calls(worker.calls) == 2
        assert summary.notes == []

    bench(test)


def test_a_server_that_was_restarted_is_named(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(readings=[counted(1007), counted(7)])
        summary = summary_of(await bench.finish())
        told = summary.suts[0].server_statistics
        assert told is not None
        assert told.models[0].went_back
        assert failed_findings(summary) == []

    bench(test)


def test_a_failing_call_stops_nothing_and_is_asked_once(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        failing = pb.ControlReply(error="sut: it burns", error_exit_code=3)
        worker = bench.worker(readings=[failing])
        summary = summary_of(await bench.finish(server_statistics="on"))
        told = summary.suts[0].server_statistics
        assert told is not None
        assert told.missing == "sut: it burns"
        assert summary.notes == ["no server statistics of sut 0: sut: it burns"]
        assert statistics_calls(worker.calls) == 1
        assert failed_findings(summary) == []

    bench(test)


def test_bytes_that_are_no_statistics_are_said(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        wrong = pb.SutStatistics(sut_index=0, kserve_statistics=b"\xff\xff\xff")
        bench.worker(readings=[pb.ControlReply(statistics=[wrong])])
        told = summary_of(await bench.finish()).suts[0].server_statistics
        assert told is not None
        assert told.missing == "its ModelStatistics are not KServe's"

    bench(test)


def test_off_asks_nobody(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        worker = bench.worker()
        summary = summary_of(await bench.finish(server_statistics="off"))
        assert summary.suts[0].server_statistics is None
        assert statistics_calls(worker.calls) == 0

    bench(test)
