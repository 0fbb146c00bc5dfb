"""The demonstration's system under test: a sut-server process on a free loopback port."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from loadgen_service.errors import RunError, UserError

READY_TIMEOUT_S: Final = 120.0
"""Making the model's ONNX file takes a second; a cold disk may take many."""
END_TIMEOUT_S: Final = 15.0
MISTAKE: Final = 2


@asynccontextmanager
async def embedded_sut(model: str) -> AsyncIterator[str]:
    """HOST:PORT of a running sut-server; it ends with the block.

    Raises UserError or RunError with its own last line where it does not become ready.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sut_server", "--model", model, "--port", "0"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C is for the run: it drains first
    )
    try:
        yield await _ready_address(process)
    finally:
        await _end(process)


async def _ready_address(process: Process) -> str:
    assert process.stdout
    assert process.stderr
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)
    except TimeoutError:
        raise RunError(f"sut-server was not ready after {READY_TIMEOUT_S:g} s") from None
    if b" ready on " in line:
        return line.decode().rsplit(" ", 1)[-1].strip()
    words = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
    last = words[-1] if words else "it said nothing"
    code = await process.wait()
    raise (UserError if code == MISTAKE else RunError)(f"sut-server did not start: {last}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
