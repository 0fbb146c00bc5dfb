"""Batches: counted from 1, kept until acknowledged, sent again in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.worker.uplink.sender import Outbox


class Piece:
    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


def test_sequences_count_from_one_in_order() -> None:
    outbox, pieces = Outbox(), [Piece() for _ in range(3)]
    assert [outbox.put(piece) for piece in pieces] == [1, 2, 3]
    assert [outbox.take() for _ in range(4)] == [*zip((1, 2, 3), pieces, strict=True), None]


def test_an_acknowledgement_covers_all_before_it() -> None:
    outbox, pieces = Outbox(), [Piece() for _ in range(3)]
    for piece in pieces:
        outbox.put(piece)
        outbox.take()
    outbox.acknowledge(2)
    outbox.acknowledge(2)
    assert [piece.released for piece in pieces] == [1, 1, 0]
    assert [sequence for sequence, _ in outbox.kept()] == [3]


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    outbox = Outbox()
    outbox.put(Piece())
    with pytest.raises(ValueError, match="batch 1 was acknowledged"):
        outbox.acknowledge(1)


@given(st.lists(st.sampled_from(["put", "take", "ack", "break"]), max_size=60), st.randoms())
def test_every_piece_reaches_a_peer_that_drops_repeats(steps: list[str], random: object) -> None:
    """Whatever breaks, a receiver that ignores repeats has every piece once, in order."""
    outbox, received, put = Outbox(), [], 0

    def take() -> None:
        taken = outbox.take()
        if taken is not None and taken[0] == len(received) + 1:
            received.append(taken[0])
        elif taken is not None:
            assert taken[0] <= len(received)

    for step in steps:
        if step == "put":
            outbox.put(Piece())
            put += 1
        elif step == "take":
            take()
        elif step == "break":
            outbox.rewind()
        elif received and outbox.unsent_count == 0:
            outbox.acknowledge(random.randint(1, len(received)))  # type: ignore[attr-defined]
    outbox.rewind()
    while outbox.unsent_count:
        take()
    assert received == list(range(1, put + 1))
