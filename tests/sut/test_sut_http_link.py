"""One HTTP connection: what a server may send when nobody asked, and how much of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadgen_service.sut.http.connection import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    INTERIM_MAX,
    HttpLink,
)
from loadgen_service.sut.interface import DONE, MESSAGE, NO_PIECES, Usage

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Whole:
    """Takes whatever comes; each part of the body is a piece."""

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status

    def feed(self, data: bytes) -> bytes:
        return b"\0\1" if data == b"two" else NO_PIECES

    def end(self) -> bytes:
        return NO_PIECES

    def ending(self) -> tuple[int, bytes | None, str, Usage | None]:
        return 0, None, "", None


class Plain:
    def setsockopt(self, *_: Any) -> None: ...
    def fileno(self) -> int:
        return -1


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"socket": Plain()})
        self.aborted = False

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: Any) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class Owner:
    """Keeps what a link reports."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.free_count = 0
        self.link = HttpLink(self, lambda: 1, direct=False)
        self.wire = Wire()
        self.link.connection_made(self.wire)

    def on_events(self, now_ns: int, events: Any) -> None:
        self.events += events

    def on_free(self, link: HttpLink, now_ns: int) -> None:
        self.free_count += 1

    def on_lost(self, link: HttpLink, now_ns: int, reason: str) -> None: ...

    def ask(self, *answers: bytes) -> Owner:
        self.link.send(7, b"", Whole())
        for answer in answers:
            self.link.data_received(answer)
        return self


@pytest.mark.parametrize("stray", [b"\r\n", b"\n", b"x", ANSWER, b"HTTP/1.1 408 X\r\n\r\n"])
def test_a_byte_that_nobody_asked_for_closes_the_connection_and_never_frees_it_twice(stray: bytes):
    owner = Owner().ask(ANSWER)
    assert (owner.free_count, owner.wire.aborted) == (1, False)
    owner.link.data_received(stray)
    assert (owner.free_count, owner.wire.aborted, owner.link.is_open) == (1, True, False)
    assert len(owner.events) == 1


def test_a_second_answer_behind_the_one_asked_for_closes_the_connection():
    owner = Owner().ask(ANSWER + ANSWER)
    assert owner.events == [(DONE, 7, 0, None, "")]
    assert (owner.free_count, owner.wire.aborted) == (0, True)


def test_choices_travel_with_their_pieces():
    owner = Owner().ask(CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n")
    assert owner.events[:2] == [(MESSAGE, 7, None), (MESSAGE, 7, None, 1)]


def test_interim_answers_are_passed_over_and_bounded():
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    assert Owner().ask(interim * 3 + ANSWER).events == [(DONE, 7, 0, None, "")]
    owner = Owner().ask(interim * (INTERIM_MAX + 1))
    assert owner.events[0][2:] == (8, None, "over 16 interim answers before the answer")
    assert owner.wire.aborted


def parts(first: bytes, piece: bytes, count: int) -> list[bytes]:
    return [first, *[piece] * count]


BIG = 1 << 16


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (parts(b"HTTP/1.1 200 OK\r\nA: ", b"x" * 4_096, 40), "a head of the answer is over"),
        (parts(b"HTTP/1.1 200 OK\r\n", b"A: bcdefghijk\r\n" * 300, 40), "header fields are over"),
        (parts(CHUNKED + b"0\r\n", b"A: bcdefghijk\r\n" * 300, 40), "header fields are over"),
        (parts(CHUNKED + b"0\r\nA: ", b"x" * 4_096, 40), "a trailer or a chunk's head"),
        (parts(CHUNKED + b"1;e=", b"x" * 4_096, 40), "a trailer or a chunk's head"),
        (
            parts(
                CHUNKED,
                b"%x\r\n%b\r\n" % (BIG, b"z" * BIG),
                BODY_BYTES_MAX // BIG + 1,
            ),
            "body is over 256 MiB",
        ),
    ],
)  # fmt: skip
def test_every_part_of_an_answer_is_bounded_in_bytes(sent: list[bytes], words: str):
    owner = Owner()
    owner.link.send(7, b"", Whole())
    for piece in sent:
        owner.link.data_received(piece)
        if owner.wire.aborted:
            break
    [(kind, key, code, message, text)] = owner.events
    assert (kind, key, code, message) == (DONE, 7, 8, None)
    assert words in text
    assert owner.free_count == 0


def test_large_honest_parts_pass():
    head = b"HTTP/1.1 200 OK\r\n" + b"A: bcdef\r\n" * 1_000
    body = head + b"Content-Length: 1000000\r\n\r\n" + b"z" * 1_000_000
    assert len(head) < HEAD_BYTES_MAX
    for step in (len(body), 262_144, 1_000):
        owner = Owner().ask(*[body[at : at + step] for at in range(0, len(body), step)])
        assert owner.events == [(DONE, 7, 0, None, "")], step


def test_an_upgrade_is_named():
    owner = Owner().ask(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nxx")
    assert owner.events[0][2] == 13
    assert "upgrade" in owner.events[0][4]
