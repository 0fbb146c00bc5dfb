"""Engines: requests in, answers out, figures that add up; on real threads, without sockets."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sut_fakes import FakeModel, FakeSink, infer_message, output_of, refused, run, until
from tritonclient.grpc import service_pb2

from sut_server.alarms import Alarms
from sut_server.engines.batch import BatchEngine, BatchLimits
from sut_server.engines.engine import Desk
from sut_server.engines.faults import FaultPlan
from sut_server.engines.null import NullEngine, null_spec, ready_answer
from sut_server.engines.service_time import parse_service_time
from sut_server.engines.synthetic import SyntheticEngine, SyntheticOptions, simple_spec
from sut_server.errors import Code
from sut_server.messages.infer import InferRequest, decode_request
from sut_server.models.spec import Batch


class AlignedModel(FakeModel):
    """Notes whether what it is given is aligned."""

    def __init__(self) -> None:
        super().__init__()
        self.aligned: list[bool] = []

    def infer(self, batch: Batch) -> Batch:
        self.aligned += [array.flags.aligned for array in batch.values()]
        return super().infer(batch)


def batch_engine(
    model: FakeModel,
    max_rows: int = 4,
    max_delay_ns: int = 0,
    max_waiting: int = 100,
) -> BatchEngine:
    alarms = Alarms(asyncio.get_running_loop(), time.monotonic_ns)
    desk = Desk(model.spec, time.monotonic_ns)
    limits = BatchLimits(max_rows, max_delay_ns, max_waiting, instance_count=1)
    return BatchEngine(model, limits, desk, alarms, time.monotonic_ns)


def request(*rows: list[float]) -> InferRequest:
    return decode_request(infer_message(list(rows)), FakeModel.spec, 100)


def test_each_caller_gets_its_own_rows_of_a_shared_batch() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model)
        model.gate.clear()
        engine.submit(sink.call(1), request([1, 2]))
        engine.submit(sink.call(3), request([3, 4], [5, 6]))
        engine.submit(sink.call(5), request([7, 8]))
        model.gate.set()
        await sink.settle(3)
        assert model.batch_rows == [1, 3]
        assert output_of(sink.settled[1]) == [[2, 4]]
        assert output_of(sink.settled[3]) == [[6, 8], [10, 12]]
        assert output_of(sink.settled[5]) == [[14, 16]]
        assert engine.figures.success_rows == 4
        assert engine.figures.batches[3].execution_count == 1
        assert engine.figures.outstanding_count == 0
        engine.close()

    run(main)


def test_timings_are_in_order_and_tell_waiting_from_computing() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model)
        before_ns = time.monotonic_ns()
        engine.submit(sink.call(1, before_ns), request([1, 2]))
        await sink.settle(1)
        answer = service_pb2.ModelInferResponse.FromString(sink.settled[1])
        timings = {name: value.int64_param for name, value in answer.parameters.items()}
        assert timings["received_ns"] == before_ns
        assert min(timings["queue_ns"], timings["compute_ns"]) >= 0
        spent_ns = timings["queue_ns"] + timings["compute_ns"]
        assert before_ns + spent_ns <= timings["sent_ns"] <= time.monotonic_ns()
        engine.close()

    run(main)


def test_a_waiting_request_leaves_after_the_delay() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model, max_delay_ns=2_000_000)
        engine.submit(sink.call(1), request([1, 2]))
        engine.submit(sink.call(3), request([3, 4]))
        assert not sink.settled
        await sink.settle(2)
        assert model.batch_rows == [2]
        engine.close()

    run(main)


def test_hurry_ends_the_waiting_for_a_fuller_batch() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model, max_delay_ns=3_600_000_000_000)
        engine.submit(sink.call(1), request([1, 2]))
        engine.hurry()
        await sink.settle(1)
        engine.close()

    run(main)


def test_a_failing_model_fails_its_batch_and_serves_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model)
        model.error = RuntimeError("no\nmemory")
        engine.submit(sink.call(1), request([1, 2]))
        await sink.settle(1)
        error = refused(sink.settled[1])
        assert error.code is Code.INTERNAL
        assert error.text == "model 'double' failed: RuntimeError: no memory"
        model.error = None
        engine.submit(sink.call(3), request([1, 2]))
        await sink.settle(2)
        assert output_of(sink.settled[3]) == [[2, 4]]
        assert engine.figures.by_code == {Code.INTERNAL: 1, Code.OK: 1}
        engine.close()

    run(main)
    assert "RuntimeError" in capsys.readouterr().err


def test_a_full_queue_is_unavailable() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model, max_rows=1, max_waiting=1)
        model.gate.clear()
        for stream_id in (1, 3, 5):
            engine.submit(sink.call(stream_id), request([1, 2]))
        assert refused(sink.settled[5]).code is Code.UNAVAILABLE
        model.gate.set()
        await sink.settle(3)
        engine.close()

    run(main)


def test_a_caller_that_leaves_is_counted_and_not_computed() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model, max_rows=1)
        model.gate.clear()
        engine.submit(sink.call(1), request([1, 2]))
        leaving = sink.call(3)
        engine.submit(leaving, request([1, 2]))
        leaving.gone()
        model.gate.set()
        await sink.settle(1)
        await until(lambda: engine.figures.outstanding_count == 0)
        assert model.batch_rows == [1]
        assert engine.figures.by_code == {Code.OK: 1, Code.CANCELLED: 1}
        engine.close()

    run(main)


def test_flush_waits_for_the_requests_before_it_and_not_for_later_ones() -> None:
    async def main() -> None:
        model, sink = FakeModel(), FakeSink()
        engine = batch_engine(model, max_rows=1)
        flushed: list[int] = []
        model.gate.clear()
        engine.submit(sink.call(1), request([1, 2]))
        engine.figures.when_settled(lambda: flushed.append(len(sink.settled)))
        engine.submit(sink.call(3), request([1, 2]))
        assert flushed == []
        model.gate.set()
        await sink.settle(2)
        assert flushed == [1]
        engine.close()

    run(main)


NO_FAULTS = FaultPlan()


def synthetic(
    text: str, faults: FaultPlan = NO_FAULTS, limit: int = 0, log: list[int] | None = None
) -> SyntheticEngine:
    options = SyntheticOptions(parse_service_time(text), 7, limit, faults)
    spec = simple_spec("synthetic", 2, 1)
    desk = Desk(spec, time.monotonic_ns, None if log is None else log.append)
    return SyntheticEngine(options, desk, Alarms(asyncio.get_running_loop(), time.monotonic_ns))


def test_synthetic_never_answers_before_its_drawn_time_and_logs_what_it_served() -> None:
    async def main() -> None:
        sink, log = FakeSink(), []
        engine = synthetic("lognormal:2:0.5", log=log)
        drawn = engine._options.service_time.draws(7)
        expected = [next(drawn) for _ in range(20)]
        for number in range(20):
            engine.submit(sink.call(number, time.monotonic_ns()), request([1, 2]))
        await sink.settle(20)
        assert len(log) == 20
        assert all(
            served >= want for served, want in zip(sorted(log), sorted(expected), strict=True)
        )
        assert [output_of(answer) for answer in sink.settled.values()] == [[[0.0]]] * 20

    run(main)


def test_synthetic_faults_are_refused_or_never_answered_and_all_are_counted() -> None:
    async def main() -> None:
        sink = FakeSink()
        engine = synthetic("constant:0.1", FaultPlan(error_rate=0.3, drop_rate=0.3))
        for number in range(100):
            engine.submit(sink.call(number, time.monotonic_ns()), request([1, 2]))
        await sink.settle(100)
        kinds = [type(answer) for answer in sink.settled.values()]
        assert min(kinds.count(bytes), kinds.count(tuple), kinds.count(type(None))) > 10
        assert engine.figures.outstanding_count == 0
        assert engine.figures.by_code[Code.INTERNAL] == kinds.count(tuple)

    run(main)


def test_a_concurrency_limit_makes_requests_queue() -> None:
    async def main() -> None:
        sink = FakeSink()
        engine = synthetic("constant:1", limit=1)
        received_ns = time.monotonic_ns()
        for number in range(3):
            engine.submit(sink.call(number, received_ns), request([1, 2]))
        await sink.settle(3)
        last = service_pb2.ModelInferResponse.FromString(sink.settled[2])
        assert last.parameters["queue_ns"].int64_param == 2_000_000

    run(main)


def test_the_null_model_answers_its_rows_at_once() -> None:
    sink = FakeSink()
    engine = NullEngine(Desk(null_spec(), time.monotonic_ns))
    message = infer_message([[0.0] * 16] * 3, "null", "input")
    engine.submit(sink.call(1), decode_request(message, null_spec(), 8))
    assert output_of(sink.settled[1]) == [[0.0]] * 3
    ready = service_pb2.ModelInferResponse.FromString(ready_answer(null_spec()))
    assert list(ready.outputs[0].shape) == [1, 1]
    assert np.frombuffer(ready.raw_output_contents[0], "<f4").tolist() == [0.0]


def test_a_model_gets_aligned_tensors_wherever_they_lay_in_the_message() -> None:
    async def main() -> None:
        sink = FakeSink()
        model = AlignedModel()
        engine = batch_engine(model)
        [(name, tensor)] = request([1, 2]).inputs.items()
        bytes_of_it = bytearray(1 + tensor.nbytes)
        bytes_of_it[1:] = tensor.tobytes()
        shifted = np.frombuffer(bytes_of_it, tensor.dtype, offset=1).reshape(tensor.shape)
        assert not shifted.flags.aligned
        engine.submit(sink.call(1), replace(request([1, 2]), inputs={name: shifted}))
        await sink.settle(1)
        assert output_of(sink.settled[1]) == [[2, 4]]
        assert model.aligned == [True]
        engine.close()

    run(main)


@pytest.mark.parametrize(
    "make", [lambda: batch_engine(FakeModel()), lambda: synthetic("constant:0")]
)
@pytest.mark.parametrize("ending", ["answered", "gone"])
def test_an_ended_request_is_freed_without_the_collector(make: Any, ending: str) -> None:
    async def main() -> None:
        sink, engine = FakeSink(), make()
        asked = [request([1, 2]) for _ in range(3)]
        tensors = [weakref.ref(tensor) for one in asked for tensor in one.inputs.values()]
        while asked:
            call = sink.call(len(asked))
            engine.submit(call, asked.pop())
            if ending == "gone":
                call.gone()
        await until(lambda: engine.figures.outstanding_count == 0)
        del call
        await until(lambda: all(tensor() is None for tensor in tensors))
        engine.close()

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


def test_alarms_ring_in_order_and_never_early() -> None:
    async def main() -> None:
        alarms = Alarms(asyncio.get_running_loop(), time.monotonic_ns)
        rung: list[tuple[int, bool]] = []
        start_ns = time.monotonic_ns()
        for delay_us in (900, 300, 600, 0):
            due_ns = start_ns + delay_us * 1000
            alarms.at(
                due_ns, lambda now_ns, us=delay_us, due=due_ns: rung.append((us, now_ns >= due))
            )
        await until(lambda: len(rung) == 4)
        assert rung == [(0, True), (300, True), (600, True), (900, True)]
        alarms.close()

    run(main)


def test_a_failing_alarm_does_not_stop_the_others() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reported: list[str] = []
        loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        alarms = Alarms(loop, time.monotonic_ns)
        rung: list[int] = []

        def fail(now_ns: int) -> None:
            raise ValueError("broken alarm")

        alarms.at(1, fail)
        alarms.at(2, rung.append)
        await until(lambda: bool(rung))
        assert reported == ["broken alarm"]
        alarms.close()

    run(main)
