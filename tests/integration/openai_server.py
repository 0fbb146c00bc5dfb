"""sut-server's OpenAI side as a process, and the adapter in front of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from stream_pieces import Pieces
from sut_process import sut_server

from loadgen_service.core.settings import Settings
from loadgen_service.sut.factory import open_suts
from loadgen_service.sut.interface import Parts, SystemUnderTest
from loadgen_service.sut.openai.request import OpenAiBuilder, common_fields

MODEL = "synthetic-stream"


@contextlib.contextmanager
def openai_server(*flags: str) -> Iterator[str]:
    """``HOST:PORT/v1`` of a running server."""
    with sut_server("--model", "null", "--openai-port", "0", *flags) as server:
        assert server.process.stdout is not None
        # Printed at once behind the ready line, which has been read.
        yield server.process.stdout.readline().split(" ready on ")[1].strip()


@asynccontextmanager
async def opened_openai(
    target: str, **given: Any
) -> AsyncIterator[tuple[list[SystemUnderTest], Pieces]]:
    answers = Pieces()
    suts = await open_suts(Settings(sut=[target], model=MODEL, **given), answers, streaming=True)
    try:
        yield suts, answers
    finally:
        for sut in suts:
            await sut.close()


def request(model: str = MODEL, streaming: bool = True, **fields: Any) -> Parts:
    common = common_fields(model, streaming, fields)
    sample = b'{"messages": [{"role": "user", "content": "a b c"}]}'
    return OpenAiBuilder(common, lambda _: [sample]).build((0,))
