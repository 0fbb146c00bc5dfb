"""A small mutator: seeded, of bytes, with pieces of the target's own corpus and its words."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

BYTES_MAX = 1 << 16
NOTABLE = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0",
    b"\r\n", b"\n\n", b"\r", b"data: ", b"-1", b"1e999", b"NaN", b"null", b"{}", b"[]", b'"',
    b"99999999999999999999", b"\xed\xa0\x80", "\ufeff".encode(), b"\xe2\x80\xa8",
)  # fmt: skip


def inputs(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """The seeds themselves, then changed ones without end; the same for the same ``seed``."""
    yield from seeds
    drawn = random.Random(seed)
    while True:
        data = bytearray(drawn.choice(seeds) if seeds else b"")
        for _ in range(drawn.choice((1, 1, 1, 2, 4, 16))):
            drawn.choice(CHANGES)(data, drawn, seeds)
        yield bytes(data[:BYTES_MAX])


def _at(data: bytearray, drawn: random.Random) -> int:
    return drawn.randint(0, len(data))


def _flip(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    if data:
        data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)


def _set(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    if data:
        data[drawn.randrange(len(data))] = drawn.randrange(256)


def _insert(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    at = _at(data, drawn)
    data[at:at] = drawn.choice(NOTABLE)


def _overwrite(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    at, word = _at(data, drawn), drawn.choice(NOTABLE)
    data[at : at + len(word)] = word


def _cut(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    start = _at(data, drawn)
    del data[start : start + drawn.choice((1, 4, 64, len(data)))]


def _repeat(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    start = _at(data, drawn)
    data[start:start] = data[start : start + drawn.choice((1, 9, 64))] * drawn.choice((1, 2, 50))


def _splice(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    other = drawn.choice(seeds) if seeds else b""
    data[_at(data, drawn) :] = other[drawn.randint(0, len(other)) :]


def _move(data: bytearray, drawn: random.Random, seeds: Sequence[bytes]) -> None:
    start = _at(data, drawn)
    piece = data[start : start + drawn.choice((1, 9, 64))]
    del data[start : start + len(piece)]
    at = _at(data, drawn)
    data[at:at] = piece


Change = Callable[[bytearray, random.Random, Sequence[bytes]], None]
CHANGES: tuple[Change, ...] = (_flip, _set, _insert, _overwrite, _cut, _repeat, _splice, _move)
