"""The stateful model: running sums by sequence, and a refusal of everything out of order."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest
from sut_fakes import FakeSink, run
from tritonclient.grpc import service_pb2

from sut_server.alarms import Alarms
from sut_server.engines.accumulator import AccumulatorEngine, accumulator_spec
from sut_server.engines.engine import Desk
from sut_server.engines.faults import FaultPlan
from sut_server.engines.service_time import parse_service_time
from sut_server.engines.synthetic import SyntheticOptions
from sut_server.errors import CallError, Code
from sut_server.http.kserve import read_request
from sut_server.messages.infer import decode_request
from sut_server.messages.sequence_params import (
    IDLE_NS,
    LIVE_MAX,
    LiveSequences,
    SequencePlace,
    sequence_place,
)


def place(number: int, *flags: str) -> SequencePlace:
    return SequencePlace(number, "start" in flags, "end" in flags)


def play(live: LiveSequences, at: SequencePlace, value: int, now_ns: int = 0) -> tuple[int, int]:
    found = live.begin(at, value, now_ns)
    live.end(at, now_ns)
    return found


def test_sums_run_by_sequence_and_end_with_it() -> None:
    live = LiveSequences()
    assert play(live, place(1, "start"), 5) == (5, 1)
    assert play(live, place(2, "start", "end"), 7) == (7, 1)
    assert play(live, place(1), -2) == (3, 2)
    assert play(live, place(1, "end"), 2**63 - 1) == (-(2**63) + 2, 3)
    assert (live.live_count, live.ended_count) == (0, 2)
    assert play(live, place(1, "start"), 1) == (1, 1)


@pytest.mark.parametrize(
    ("before", "wrong", "said"),
    [
        ([], None, "needs sequence_id"),
        ([], place(4), "sequence 4 is not known"),
        ([place(4, "start", "end")], place(4), "sequence 4 is not known"),
        ([place(4, "start")], place(4, "start"), "sequence 4 has begun already"),
    ],
)
def test_a_request_out_of_order_is_refused(
    before: list[SequencePlace], wrong: SequencePlace | None, said: str
) -> None:
    live = LiveSequences()
    for one in before:
        play(live, one, 1)
    with pytest.raises(CallError, match=said) as caught:
        live.begin(wrong, 1, 0)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_request_before_the_answer_to_the_last_one_is_refused() -> None:
    live = LiveSequences()
    live.begin(place(4, "start"), 1, 0)
    with pytest.raises(CallError, match="its request before this one is not answered yet"):
        live.begin(place(4), 1, 0)


def test_a_sequence_left_alone_gives_way_to_a_new_one_of_its_id() -> None:
    live = LiveSequences()
    play(live, place(4, "start"), 1, now_ns=0)
    assert play(live, place(4, "start"), 9, now_ns=IDLE_NS + 1) == (9, 1)


def test_memory_is_bounded_by_forgetting_the_oldest() -> None:
    live = LiveSequences()
    for number in range(1, LIVE_MAX + 2):
        play(live, place(number, "start"), 1)
    assert live.live_count == LIVE_MAX
    with pytest.raises(CallError, match="sequence 1 is not known"):
        live.begin(place(1), 1, 0)


def asked(number: Any, *flags: str, value: int = 1, rows: int = 1) -> Any:
    message = service_pb2.ModelInferRequest(model_name="accumulator")
    message.inputs.add(name="input", datatype="INT64", shape=[rows, 1])
    message.raw_input_contents.append(np.full(rows, value, "<i8").tobytes())
    if isinstance(number, str):
        message.parameters["sequence_id"].string_param = number
    elif number is not None:
        message.parameters["sequence_id"].int64_param = number
    for flag in flags:
        message.parameters[f"sequence_{flag}"].bool_param = True
    return message


def test_places_are_read_from_parameters() -> None:
    assert sequence_place(asked(None).parameters) is None
    assert sequence_place(asked(0, "start").parameters) is None
    assert sequence_place(asked("").parameters) is None
    assert sequence_place(asked("a", "end").parameters) == SequencePlace("a", False, True)
    assert sequence_place(asked(3, "start").parameters) == place(3, "start")
    wrong = asked(None)
    wrong.parameters["sequence_id"].bool_param = True
    with pytest.raises(CallError, match="must be a number or text"):
        sequence_place(wrong.parameters)


def test_the_engine_answers_sum_and_step_and_refuses_in_one_line() -> None:
    async def main() -> None:
        clock = time.monotonic_ns
        alarms = Alarms(asyncio.get_running_loop(), clock)
        options = SyntheticOptions(parse_service_time("constant:0.1"), 0, 0, FaultPlan())
        engine = AccumulatorEngine(options, Desk(accumulator_spec(), clock), alarms, clock)
        sink = FakeSink()
        requests = (
            asked(5, "start", value=3),
            asked(5, "end", value=4),
            asked(5),
            asked(6, rows=2),
        )
        for number, message in enumerate(requests, 1):
            request = decode_request(message, engine.spec, 8)
            engine.submit(sink.call(number, clock()), request)
            await sink.settle(number)
        answers = [service_pb2.ModelInferResponse.FromString(sink.settled[n]) for n in (1, 2)]
        found = [[int(np.frombuffer(raw, "<i8")[0]) for raw in one.raw_output_contents]
                 for one in answers]  # fmt: skip
        assert found == [[3, 1], [7, 2]]
        assert sink.settled[3] == (
            Code.INVALID_ARGUMENT,
            "sequence 5 is not known: it has not begun, or it has ended",
        )
        assert sink.settled[4][1] == "a sequence takes one sample a request"
        assert engine.sequences.live_count == 0
        assert engine.figures.settled_count == 4
        alarms.close()

    run(main)


def test_rest_requests_carry_the_same_parameters() -> None:
    def read(**parameters: Any) -> Any:
        inputs = [{"name": "input", "datatype": "INT64", "shape": [1, 1], "data": [1]}]
        body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
        message, _ = read_request({}, body)
        return sequence_place(message.parameters)

    assert read() is None
    assert read(sequence_id=9, sequence_start=True, sequence_end=False) == place(9, "start")
    assert read(sequence_id="x", sequence_end=True) == SequencePlace("x", False, True)
    for wrong in (True, 1.5, [1]):
        with pytest.raises(ValueError, match="sequence_id must be a number or text"):
            read(sequence_id=wrong)
