"""Answers of many lengths that come together."""

from __future__ import annotations

import random

from grpc_wire.events import DONE, REQUEST
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from wire_pair import HEADERS, Pair


def asked(server: ServerConnection, count: int, message: bytes) -> tuple[Pair, list[int]]:
    pair = Pair(server=server)
    for key in range(count):
        assert pair.client.call(key, HEADERS, message)
    pair.exchange()
    return pair, [event[1] for event in pair.server_events if event[0] == REQUEST]


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
