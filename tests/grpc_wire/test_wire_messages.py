"""Messages out of DATA, however it is cut."""

from __future__ import annotations

import pytest
from grpc_wire.errors import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED, MessageFault
from grpc_wire.messages import Deframer, frame_message, frame_prefix
from hypothesis import given
from hypothesis import strategies as st


def test_message_has_prefix_of_flag_and_length() -> None:
    assert frame_message(b"abc") == b"\0\0\0\0\3abc"
    assert frame_message(b"ab", memoryview(b"c")) == b"\0\0\0\0\3abc"
    assert frame_prefix(65_537) == b"\0\0\1\0\1"


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 40)))
def test_any_cut_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame_message, messages))
    deframer = Deframer(100)
    found: list[bytes] = []
    position = 0
    for length in [*cuts, len(stream)]:
        stop = min(len(stream), position + length)
        found += deframer.feed(stream, position, stop)
        position = stop
    assert found == messages
    assert deframer.held_bytes == 0


def test_part_of_a_message_is_held() -> None:
    deframer = Deframer(100)
    assert deframer.feed(frame_message(b"abcdef"), 0, 8) == []
    assert deframer.held_bytes == 8


def test_many_empty_messages_in_one_frame() -> None:
    stream = frame_message(b"") * 5_000 + b"\0"
    assert Deframer(10).feed(stream, 0, len(stream)) == [b""] * 5_000


def feed_in_cuts(deframer: Deframer, stream: bytes, cut: int) -> None:
    for start in range(0, len(stream), cut):
        deframer.feed(stream, start, min(start + cut, len(stream)))


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 105])
def test_too_long_a_message_is_refused_by_its_prefix(cut: int) -> None:
    stream = frame_message(bytes(101))
    with pytest.raises(MessageFault, match="message of 101 bytes is over the limit of 100") as info:
        feed_in_cuts(Deframer(100), stream, cut)
    assert info.value.code == RESOURCE_EXHAUSTED


def test_compressed_message_is_refused_clearly() -> None:
    with pytest.raises(MessageFault, match="message is compressed") as info:
        Deframer(100).feed(b"\1\0\0\0\0", 0, 5)
    assert info.value.code == INTERNAL
    with pytest.raises(MessageFault, match="marked 7") as info:
        Deframer(100, UNIMPLEMENTED).feed(b"\7\0\0\0\1a", 0, 6)
    assert info.value.code == UNIMPLEMENTED
