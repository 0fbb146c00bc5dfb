"""Answers handed over together, and answers of many lengths that come together."""

from __future__ import annotations

import random

import pytest
from grpc_wire.events import DONE, REQUEST
from grpc_wire.gzip import GzipServerConnection
from grpc_wire.limits import LARGE_PIECE_BYTES
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from wire_pair import HEADERS, Pair, output

SIZES = (0, 1, 91, 5_000, LARGE_PIECE_BYTES - 6, LARGE_PIECE_BYTES - 5, 40_000)


def asked(server: ServerConnection, count: int, message: bytes) -> tuple[Pair, list[int]]:
    pair = Pair(server=server)
    for key in range(count):
        assert pair.client.call(key, HEADERS, message)
    pair.exchange()
    return pair, [event[1] for event in pair.server_events if event[0] == REQUEST]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [ServerConnection, GzipServerConnection])
def test_one_answer_for_many_is_the_answer_to_each(size: int, make: type) -> None:
    answer = frame_message(bytes(size))
    outputs = []
    for together in (True, False):
        pair, ids = asked(make(), 6, frame_message(b"question"))
        pair.client.cancel(2)
        pair.server.receive(output(pair.client))
        if together:
            pair.server.respond_same([*ids, 99], answer)
        else:
            for stream_id in (*ids, 99):
                pair.server.respond(stream_id, answer)
        said = output(pair.server)
        pair.client_events += pair.client.receive(said)
        pair.exchange()
        done = {event[1]: event[3] for event in pair.client_events if event[0] == DONE}
        assert done == dict.fromkeys((0, 1, 3, 4, 5), bytes(size))
        assert pair.server.open_count == 0
        outputs.append(said)
    assert outputs[0] == outputs[1]


def test_answers_of_many_lengths_in_one_read() -> None:
    pair, ids = asked(ServerConnection(), 40, frame_message(b"question"))
    drawn = random.Random(7)
    sizes = [drawn.choice((0, 3, 3, 3, 7, 900)) for _ in ids]
    for _ in range(3):
        for stream_id, size in zip(ids, sizes, strict=True):
            pair.server.respond(stream_id, frame_message(bytes(size)))
        pair.exchange()
        done = [event for event in pair.take_client_events() if event[0] == DONE]
        assert [(key, len(message)) for _, key, _, message, _ in done] == list(enumerate(sizes))
        pair.take_server_events()
        for key in range(40):
            assert pair.client.call(key, HEADERS, frame_message(bytes(drawn.choice((0, 5, 9)))))
        pair.exchange()
        ids = [event[1] for event in pair.take_server_events() if event[0] == REQUEST]
        assert len(ids) == 40
