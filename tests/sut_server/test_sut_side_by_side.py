"""Places for large requests: adjoining where they can, never over what is still to be read."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from grpc_wire.limits import IN_PLACE_BYTES_MIN
from hypothesis import given, settings
from hypothesis import strategies as st
from sut_fakes import FakeSink, output_of, run
from tritonclient.grpc import service_pb2

from sut_server.alarms import Alarms
from sut_server.engines.batch import BatchEngine, BatchLimits
from sut_server.engines.engine import Desk
from sut_server.messages.infer import InferRequest, decode_request
from sut_server.messages.request_split import ModelInferRequest
from sut_server.models.registry import Batch, ModelSpec
from sut_server.models.tensors import Array, TensorSpec
from sut_server.side_by_side import (
    BLOCK_BYTES_MAX,
    ELSEWHERE_MAX,
    HEAD_BYTES_MAX,
    Placed,
    SideBySide,
    adjoin,
    as_one,
)

SIZE = IN_PLACE_BYTES_MIN + 4_000
HEAD = 100


class Coming:
    """A request on its way: a head, then a tensor, then perhaps something behind it."""

    def __init__(self, places: SideBySide, tensor: bytes, head_bytes: int = HEAD, tail: int = 0):
        self.places = places
        self.tensor_bytes = tensor
        self.content = b"h" * head_bytes + tensor + b"t" * tail
        self.memory = places.memory(len(self.content))
        self.head_bytes = head_bytes
        self.filled = 0

    def fill(self, count: int | None = None) -> None:
        stop = len(self.content) if count is None else min(len(self.content), self.filled + count)
        self.memory[self.filled : stop] = self.content[self.filled : stop]
        self.filled = stop

    def settle(self) -> tuple[Array, Placed | None]:
        """Its tensor, as its reader finds it, and the place that it was told."""
        assert bytes(self.memory) == self.content
        stop = self.head_bytes + len(self.tensor_bytes)
        tensor = np.frombuffer(self.memory.toreadonly()[self.head_bytes : stop], dtype="<f4")
        tensor = tensor.reshape(1, -1)
        return tensor, self.places.settle([tensor])


def numbered(number: int, size_bytes: int = SIZE) -> bytes:
    return np.full(size_bytes // 4, number, dtype="<f4").tobytes()


def taken(places: SideBySide, number: int, **more: Any) -> tuple[Array, Placed | None]:
    coming = Coming(places, numbered(number), **more)
    coming.fill()
    return coming.settle()


def usual(batch_rows: int = 4) -> SideBySide:
    """After two requests, whose size is then the usual one."""
    places = SideBySide(batch_rows)
    for number in (-1, -2):
        assert taken(places, number)[1] is None
    return places


def test_requests_one_after_another_adjoin_and_are_one_array_as_they_lie() -> None:
    places = usual()
    found = [taken(places, number, head_bytes=HEAD + number) for number in range(5)]
    assert adjoin([place for _, place in found], SIZE)
    tensor, lowest = found[-1]
    assert lowest is not None
    whole = as_one(lowest, tensor, 5)
    assert np.array_equal(whole, np.concatenate([tensor for tensor, _ in reversed(found)]))
    assert np.shares_memory(whole, tensor)
    assert whole.flags.aligned
    assert not whole.flags.writeable


def test_others_do_not_adjoin() -> None:
    places = usual()
    found = [taken(places, number)[1] for number in range(4)]
    assert not adjoin([found[0], found[2]], SIZE)
    assert not adjoin([found[1], found[0]], SIZE)
    assert not adjoin([None, found[0]], SIZE)
    assert not adjoin([found[0], None], SIZE)
    assert not adjoin([found[0], taken(usual(), 1)[1]], SIZE)


def test_who_comes_while_another_is_on_its_way_goes_elsewhere() -> None:
    places = usual()
    taken(places, 0)
    slow = Coming(places, numbered(1))
    slow.fill(5_000)
    assert taken(places, 2)[1] is None
    slow.fill()
    tensor, place = slow.settle()
    assert place is not None
    assert tensor[0, 0] == 1
    assert adjoin([place, taken(places, 3)[1]], SIZE)


def test_one_that_never_comes_is_not_waited_for_for_ever() -> None:
    places = usual()
    gone = Coming(places, numbered(1))
    gone.fill(5_000)
    for _ in range(ELSEWHERE_MAX):
        assert taken(places, 2)[1] is None
    assert adjoin([taken(places, 3)[1], taken(places, 4)[1]], SIZE)
    gone.fill()  # it does come, and has its memory alone
    tensor, place = gone.settle()
    assert place is None
    assert tensor[0, 0] == 1


def test_a_tensor_that_is_not_where_it_was_guessed_has_no_place() -> None:
    places = usual()
    assert taken(places, 0, tail=8)[1] is None
    assert taken(places, 1)[1] is None  # the guessed place is not used, nor what adjoins it


@pytest.mark.parametrize("head_bytes", [0, HEAD_BYTES_MAX + 1])
def test_a_head_that_does_not_fit_has_no_place(head_bytes: int) -> None:
    places = usual()
    assert taken(places, 0, head_bytes=head_bytes)[1] is None
    assert taken(places, 1)[1] is not None


@pytest.mark.parametrize("size_bytes", [IN_PLACE_BYTES_MIN - 4, BLOCK_BYTES_MAX // 2 + 4])
def test_short_and_very_large_tensors_have_no_place(size_bytes: int) -> None:
    places = SideBySide(4)
    for _ in range(3):
        coming = Coming(places, bytes(size_bytes))
        coming.fill()
        assert coming.settle()[1] is None


def test_changing_sizes_have_no_place() -> None:
    places = usual()
    other = numbered(0, SIZE + 4)
    for _ in range(4):
        coming = Coming(places, other)
        coming.fill()
        assert coming.settle()[1] is None
        assert taken(places, 1)[1] is None


def test_several_tensors_have_no_place_and_change_nothing() -> None:
    places = usual()
    tensor, _ = taken(places, 0)
    assert places.settle([tensor, tensor]) is None
    assert taken(places, 1)[1] is not None


def test_a_block_that_is_full_is_followed_by_another() -> None:
    places = usual(batch_rows=64)
    found = [taken(places, number)[1] for number in range(2 * BLOCK_BYTES_MAX // SIZE)]
    blocks = [place.block for place in found if place is not None]
    assert len(blocks) == len(found)
    assert len({id(block) for block in blocks}) in (2, 3)
    assert max(block.nbytes for block in blocks) <= BLOCK_BYTES_MAX
    # whole batches, so that those of full batches lie in one block
    assert sum(block is blocks[0] for block in blocks) % 64 == 0


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30))
def test_no_tensor_is_ever_written_over(seed: int) -> None:
    """Several connections fill their requests in pieces, some of which never end."""
    drawn = random.Random(seed)
    places = SideBySide(drawn.choice((1, 4, 64)))
    coming: list[Coming] = []
    kept: list[tuple[Array, bytes]] = []
    for number in range(120):
        if len(coming) < 3 and drawn.random() < 0.5:
            size = SIZE if drawn.random() < 0.9 else SIZE + 4
            head, tail = drawn.choice((1, HEAD, 4_000)), drawn.choice((0, 0, 0, 8))
            coming.append(Coming(places, numbered(number, size), head, tail))
        elif coming:
            one = drawn.choice(coming)
            one.fill(drawn.choice((1_000, 50_000, 200_000)))
            if one.filled == len(one.content):
                coming.remove(one)
                kept.append((one.settle()[0], one.tensor_bytes))
            elif drawn.random() < 0.1:
                coming.remove(one)  # its connection is lost
        if kept and drawn.random() < 0.1:
            kept.pop(drawn.randrange(len(kept)))
    for tensor, content in kept:
        assert tensor.tobytes() == content


class Largest:
    """Gives each row's largest number; keeps what it was given."""

    spec = ModelSpec(
        "largest", "test", (TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1, 1)),)
    )

    def __init__(self) -> None:
        self.batches: list[Array] = []

    def infer(self, batch: Batch) -> Batch:
        self.batches.append(batch["x"])
        return {"y": batch["x"].max(axis=1, keepdims=True)}

    def load_samples(self, sample_index: list[int]) -> None: ...

    def unload_samples(self, sample_index: list[int]) -> None: ...


def placed_request(places: SideBySide, number: int) -> InferRequest:
    message = service_pb2.ModelInferRequest(model_name="largest", id=str(number))
    message.inputs.add(name="x", datatype="FP32", shape=[1, SIZE // 4])
    message.raw_input_contents.append(numbered(number))
    content = message.SerializeToString()
    memory = places.memory(len(content))
    memory[:] = content
    read = ModelInferRequest.FromString(memory.toreadonly())
    return decode_request(read.message, Largest.spec, 4, None, read.raw)


def test_a_batch_that_adjoins_is_not_joined_and_each_caller_gets_its_own_row() -> None:
    async def main() -> None:
        alarms = Alarms(asyncio.get_running_loop(), time.monotonic_ns)
        model, sink, places = Largest(), FakeSink(), SideBySide(4)
        desk = Desk(model.spec, time.monotonic_ns)
        limits = BatchLimits(4, 3_600_000_000_000, 100, 1)
        engine = BatchEngine(model, limits, desk, alarms, time.monotonic_ns, places)
        asked: list[InferRequest] = []
        for number in range(12):
            asked.append(placed_request(places, number))
            engine.submit(sink.call(number), asked[-1])
        await sink.settle(12)
        assert [output_of(sink.settled[number]) for number in range(12)] == [
            [[number]] for number in range(12)
        ]
        inputs = [one.inputs["x"] for one in asked]
        shared = [sum(np.shares_memory(batch, one) for one in inputs) for batch in model.batches]
        assert shared == [0, 4, 4]  # the first has the two whose size was not yet the usual one
        engine.close()

    run(main)


COUNT_FAULTS = """
import ctypes, resource, sys
from host_tuning.malloc import keep_freed_memory
from sut_server.side_by_side import SideBySide, WARM_COUNT
import numpy as np

PR_SET_THP_DISABLE = 41  # pages of 4 KiB, whatever the machine's setting: many to be counted
assert ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
keep_freed_memory(256 << 20)
places, tensor_bytes = SideBySide(8), 602_112
if "warm" in sys.argv:
    places.warm_up(tensor_bytes)
for _ in range(2):
    places.settle([np.zeros(tensor_bytes, dtype=np.uint8)])
kept, content = [], bytes(tensor_bytes + 100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(48 * WARM_COUNT):
    request = places.memory(tensor_bytes + 100)
    request[:] = content
    tensor = np.frombuffer(request, dtype=np.uint8, offset=100)
    kept.append(places.settle([tensor]))
assert None not in kept
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*flags: str) -> int:
    """Page faults of a process while it receives as many requests as fill the warm blocks."""
    argv = [sys.executable, "-c", COUNT_FAULTS, *flags]
    return int(subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)


def test_what_is_warm_costs_no_page_faults() -> None:
    cold, warm = faults(), faults("warm")
    assert warm < cold / 2
