"""The connection's shell against the client half of grpc_wire, through a transport in memory."""

from __future__ import annotations

import asyncio

from memory_transport import Pair, done
from sut_fakes import run

from sut_server.engines.null import null_spec, ready_answer
from sut_server.errors import Code


def test_calls_are_answered_in_any_order_and_carry_the_instant_of_receipt() -> None:
    async def main() -> None:
        pair = Pair()
        pair.call(0, "/a/B", b"first")
        pair.call(1, "/a/B", b"second")
        await pair.turn()
        assert pair.server.open_count == 2
        assert pair.calls[b"first"].received_ns == 4321
        pair.calls[b"second"].answer([b"tw", b"o"])
        pair.calls[b"first"].refuse(Code.NOT_FOUND, "nothing here: ü%")
        await asyncio.sleep(0)
        assert done(await pair.turn()) == {0: (5, None, "nothing here: ü%"), 1: (0, b"two", "")}
        assert pair.server.open_count == 0

    run(main)


def test_large_answers_arrive_whole() -> None:
    async def main() -> None:
        pair = Pair()
        pair.call(0, "/a/B", b"x")
        await pair.turn()
        pair.calls[b"x"].answer([b"a" * 300_000, b"b" * 300_000])
        events: list[tuple] = []
        for _ in range(20):
            events += await pair.turn()
        assert done(events)[0][1] == b"a" * 300_000 + b"b" * 300_000

    run(main)


def test_ready_paths_are_answered_without_the_servicer_and_counted() -> None:
    async def main() -> None:
        pair = Pair(b"/a/Null")
        ready = ready_answer(null_spec())
        for key in range(3):
            pair.call(key, "/a/Null", b"ignored")
        assert done(await pair.turn()) == dict.fromkeys(range(3), (0, ready, ""))
        assert pair.ready_count == 3
        assert pair.calls == {}

    run(main)


def test_a_cancelled_call_is_told_and_its_answer_goes_nowhere() -> None:
    async def main() -> None:
        pair = Pair()
        gone: list[bool] = []
        pair.call(0, "/a/B", b"x")
        await pair.turn()
        pair.calls[b"x"].on_gone(lambda: gone.append(True))
        pair.client.cancel(0)
        await pair.turn()
        assert gone == [True]
        pair.calls[b"x"].answer([b"late"])
        assert done(await pair.turn()) == {}

    run(main)


def test_a_lost_connection_ends_its_calls() -> None:
    async def main() -> None:
        pair = Pair()
        pair.call(0, "/a/B", b"x")
        await pair.turn()
        pair.server.connection_lost(None)
        assert not pair.calls[b"x"].alive
        assert pair.shared.open == set()
        pair.calls[b"x"].answer([b"late"])

    run(main)


def test_a_caller_that_does_not_read_is_not_read_from() -> None:
    async def main() -> None:
        pair = Pair()
        pair.call(0, "/a/B", b"x")
        await pair.turn()
        pair.server.pause_writing()
        assert not pair.transport.is_reading
        pair.calls[b"x"].answer([b"y"])
        await asyncio.sleep(0)
        waiting = pair.transport.get_write_buffer_size()
        assert pair.shared.unread_bytes == pair.server.unread_bytes == waiting > 0
        pair.server.resume_writing()
        assert pair.transport.is_reading
        assert done(await pair.turn()) == {0: (0, b"y", "")}

    run(main)


def test_large_requests_are_read_where_they_stay_among_small_ones() -> None:
    async def main() -> None:
        pair = Pair()
        sizes = [602_000, 5, 602_001, 602_002, 40_000, 300_000, 7, 1_200_000]
        asked = [bytes([key]) * size for key, size in enumerate(sizes)]
        for key, message in enumerate(asked):
            pair.call(key, "/a/B", message)
        await pair.turn()
        assert list(pair.calls) == asked
        # the last comes in two frames, of which the second is short
        assert pair.views == len([size for size in sizes if 300_000 <= size < 1 << 20])
        for message in asked:
            pair.calls[message].answer([message[:1]])
        await asyncio.sleep(0)
        answered = {key: (0, message[:1], "") for key, message in enumerate(asked)}
        assert done(await pair.turn()) == answered

    run(main)


def test_ready_answers_are_given_to_large_requests_too() -> None:
    async def main() -> None:
        pair = Pair(ready_path=b"/a/B")
        for key in range(3):
            pair.call(key, "/a/B", b"\x0a\x04null*" + bytes(602_000))
        assert done(await pair.turn()) == {
            key: (0, ready_answer(null_spec()), "") for key in range(3)
        }
        assert pair.ready_count == 3

    run(main)


def test_bytes_that_are_not_http2_close_the_connection() -> None:
    async def main() -> None:
        pair = Pair()
        pair.arrive(b"GET / HTTP/1.1\r\n\r\n" + bytes(60))
        assert pair.transport.is_closed

    run(main)


def test_going_away_lets_open_calls_end() -> None:
    async def main() -> None:
        pair = Pair()
        pair.call(0, "/a/B", b"x")
        await pair.turn()
        pair.server.go_away()
        await pair.turn()
        assert pair.client.is_draining
        pair.calls[b"x"].answer([b"y"])
        await asyncio.sleep(0)
        assert done(await pair.turn()) == {0: (0, b"y", "")}

    run(main)


def test_past_the_limit_of_halves_the_largest_holder_goes_and_the_others_stay() -> None:
    async def main() -> None:
        honest, hoarder = Pair(), Pair()
        hoarder.shared.open.add(honest.server)
        honest.server._shared = hoarder.shared
        hoarder.shared.held_bytes_max = 2_500_000
        for pair, size in ((hoarder, 2_500_000), (honest, 1_200_000)):
            pair.call(0, "/a/B", bytes(size))
            sent = b"".join(pair.client.take_output())
            pair.arrive(sent[:-9_000])  # all but the end of the message
        await asyncio.sleep(0)
        assert hoarder.transport.is_closed
        assert not honest.transport.is_closed
        hoarder.server.connection_lost(None)
        assert hoarder.shared.held_bytes == honest.server.held_bytes > 0

    run(main)
