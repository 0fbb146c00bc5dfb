"""The gRPC methods, called without any wire."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from loadgen_proto import sut_pb2
from sut_fakes import FakeModel, FakeSink, infer_message, output_of, refused, run
from tritonclient.grpc import service_pb2

from sut_server.alarms import Alarms
from sut_server.engines.batch import BatchEngine, BatchLimits
from sut_server.engines.engine import Desk, Engine
from sut_server.engines.null import NullEngine, null_spec
from sut_server.errors import Code
from sut_server.grpc.servicer import KSERVE, SUT, Identity, Servicer


class Served:
    """A servicer over a doubling model and the null model, and what it answered."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.model = FakeModel()
        clock = time.monotonic_ns
        engine = BatchEngine(
            self.model, BatchLimits(4, 5000, 100, 1), Desk(self.model.spec, clock),
            Alarms(loop, clock), clock,
        )  # fmt: skip
        null: Engine = NullEngine(Desk(null_spec(), clock))
        identity = Identity("test server", "9", 4, 5, 1)
        self.servicer = Servicer({"double": engine, "null": null}, identity, loop)
        self.sink = FakeSink()
        self.count = 0

    def start(self, path: str, request: Any) -> int:
        """Begin a call; its number."""
        self.count += 1
        message = request if isinstance(request, bytes) else request.SerializeToString()
        self.servicer.handle(self.sink.call(self.count, 1000), path.encode(), message)
        return self.count

    async def ask(self, path: str, request: Any) -> Any:
        """Make a call and wait for its answer."""
        number = self.start(path, request)
        await self.sink.settle(number)
        return self.sink.settled[number]


async def kserve(served: Served, method: str, request: Any) -> Any:
    answer = await served.ask(KSERVE + method, request)
    assert isinstance(answer, bytes), answer
    return getattr(service_pb2, method + "Response").FromString(answer)


def test_live_and_ready() -> None:
    async def main() -> None:
        served = Served()
        assert (await kserve(served, "ServerLive", service_pb2.ServerLiveRequest())).live
        assert (await kserve(served, "ServerReady", service_pb2.ServerReadyRequest())).ready
        for name, is_ready in (("double", True), ("nope", False)):
            request = service_pb2.ModelReadyRequest(name=name)
            assert (await kserve(served, "ModelReady", request)).ready is is_ready
        served.servicer.is_ready = False
        assert not (await kserve(served, "ServerReady", service_pb2.ServerReadyRequest())).ready

    run(main)


def test_metadata_and_config_describe_the_tensors() -> None:
    async def main() -> None:
        served = Served()
        server = await kserve(served, "ServerMetadata", service_pb2.ServerMetadataRequest())
        assert (server.name, server.version) == ("sut-server", "9")
        request = service_pb2.ModelMetadataRequest(name="double", version="1")
        model = await kserve(served, "ModelMetadata", request)
        assert (model.name, list(model.versions)) == ("double", ["1"])
        tensor = model.inputs[0]
        assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [-1, 2])
        request = service_pb2.ModelConfigRequest(name="double")
        config = (await kserve(served, "ModelConfig", request)).config
        assert config.max_batch_size == 4
        assert list(config.input[0].dims) == [2]
        assert config.dynamic_batching.max_queue_delay_microseconds == 5

    run(main)


def test_unknown_models_and_versions_are_not_found_and_say_what_there_is() -> None:
    async def main() -> None:
        served = Served()
        for method, request in (
            ("ModelMetadata", service_pb2.ModelMetadataRequest(name="nope")),
            ("ModelConfig", service_pb2.ModelConfigRequest(name="nope")),
            ("ModelStatistics", service_pb2.ModelStatisticsRequest(name="nope")),
            ("ModelInfer", service_pb2.ModelInferRequest(model_name="nope")),
        ):
            error = refused(await served.ask(KSERVE + method, request))
            assert error.code is Code.NOT_FOUND
            assert error.text == "no model 'nope' here; there is double, null"
        request = service_pb2.ModelMetadataRequest(name="double", version="3")
        error = refused(await served.ask(KSERVE + "ModelMetadata", request))
        assert error.text == "model 'double' has version '1', not '3'"

    run(main)


def test_infer_answers_and_statistics_count_it() -> None:
    async def main() -> None:
        served = Served()
        answer = await served.ask(KSERVE + "ModelInfer", infer_message([[1, 2], [3, 4]]))
        assert output_of(answer) == [[2, 4], [6, 8]]
        refused(await served.ask(KSERVE + "ModelInfer", infer_message([[1, 2, 3]])))
        request = service_pb2.ModelStatisticsRequest(name="double")
        (stats,) = (await kserve(served, "ModelStatistics", request)).model_stats
        assert (stats.inference_count, stats.execution_count) == (2, 1)
        assert (stats.inference_stats.success.count, stats.inference_stats.fail.count) == (1, 1)
        assert stats.batch_stats[0].batch_size == 2
        everything = await kserve(served, "ModelStatistics", service_pb2.ModelStatisticsRequest())
        assert [stats.name for stats in everything.model_stats] == ["double", "null"]

    run(main)


def test_unknown_methods_and_broken_messages_are_refused() -> None:
    async def main() -> None:
        served = Served()
        error = refused(await served.ask(KSERVE + "Nope", b""))
        assert (error.code, error.text.split()[-1]) == (Code.UNIMPLEMENTED, KSERVE + "Nope")
        error = refused(await served.ask(KSERVE + "ModelInfer", b"\xff\xff"))
        assert error.code is Code.INVALID_ARGUMENT
        assert error.text == "the message is not a ModelInferRequest"

    run(main)


def test_a_defect_of_ours_is_an_internal_error_of_one_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        served = Served()
        engine = served.servicer._engines["double"]

        def broken(call: object, request: object) -> None:
            raise KeyError("defect")

        monkeypatch.setattr(engine, "submit", broken)
        error = refused(await served.ask(KSERVE + "ModelInfer", infer_message([[1, 2]])))
        assert error.code is Code.INTERNAL

    run(main)
    assert "defect" in capsys.readouterr().err


def test_the_name_and_the_clock() -> None:
    async def main() -> None:
        served = Served()
        answer = await served.ask(SUT + "Name", sut_pb2.NameRequest())
        assert sut_pb2.NameReply.FromString(answer).name == "test server"
        answer = await served.ask(SUT + "Clock", sut_pb2.ClockRequest(sent_ns=77))
        clock = sut_pb2.ClockReply.FromString(answer)
        assert (clock.sent_ns, clock.received_ns) == (77, 1000)
        assert clock.replied_ns <= time.monotonic_ns()

    run(main)


def test_sample_hints_reach_the_model() -> None:
    async def main() -> None:
        served = Served()
        hint = sut_pb2.SamplesRequest(model="double", sample_index=[3, 1])
        assert await served.ask(SUT + "LoadSamples", hint) == b""
        assert await served.ask(SUT + "UnloadSamples", hint) == b""
        assert served.model.hints == [("load", [3, 1]), ("unload", [3, 1])]
        unknown = sut_pb2.SamplesRequest(model="nope")
        error = refused(await served.ask(SUT + "LoadSamples", unknown))
        assert error.code is Code.NOT_FOUND

    run(main)


def test_flush_answers_after_the_requests_before_it() -> None:
    async def main() -> None:
        served = Served()
        idle = await served.ask(SUT + "Flush", sut_pb2.FlushRequest())
        assert sut_pb2.FlushReply.FromString(idle).answered_count == 0
        served.model.gate.clear()
        infer = served.start(KSERVE + "ModelInfer", infer_message([[1, 2]]))
        flush = served.start(SUT + "Flush", sut_pb2.FlushRequest())
        await asyncio.sleep(0)
        assert flush not in served.sink.settled
        served.model.gate.set()
        await served.sink.settle(3)
        assert list(served.sink.settled) == [1, infer, flush]
        reply = sut_pb2.FlushReply.FromString(served.sink.settled[flush])
        assert reply.answered_count == 1

    run(main)
