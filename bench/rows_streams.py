"""Rows about token streams: our OpenAI adapter against the usual clients, on canned answers."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import streams
from harness import Row, Side
from processes import CLIENT_CORE, ROOT, RowFailed, output_of, python

SECONDS = 4.0


def rate(name: str) -> float:
    """Streams a second of the client's CPU, by a process of its own with a fresh server."""
    argv = python(str(ROOT / "bench" / "streams.py"), str(SECONDS), name)
    if name == "aiperf" and not streams.AIPERF_PYTHON.exists():
        raise streams.MissingPeer(f"AIPerf is not in {streams.AIPERF_VENV.name}: make bench-setup")
    try:
        text = output_of(argv, f"{CLIENT_CORE},{streams.SERVER_CORE}")
    except subprocess.SubprocessError as error:
        raise RowFailed(f"{name}: {error}") from None
    return float(text.partition("pieces,")[2].split()[0])


@contextlib.contextmanager
def token_streams() -> Iterator[list[Row]]:
    """32 streams of 64 pieces at once, one client process each."""
    what, unit = "token streams, 32 at once", "streams/s of CPU"
    ours = Side("the OpenAI adapter", lambda: rate("ours"))
    yield [
        Row(what, unit, ours, Side("aiohttp client", lambda: rate("aiohttp")), 3.0),
        Row(what, unit, ours, Side("AIPerf's worker's client", lambda: rate("aiperf")), 3.0),
    ]
