"""One reading of metrics over HTTP: whole, or a named cause; never more than its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from metrics_server import Answer, answering, endless, metrics_server, silent, text_answer

from loadgen_service.core.settings.authority import metrics_place
from loadgen_service.service.scrape.fetch import ScrapeFailure, fetch


def fetched(answer: Answer, deadline_s: float = 20.0) -> tuple[str, list[str]]:
    """The body or the cause of the failure, and what the server was asked."""

    async def run() -> tuple[str, list[str]]:
        async with metrics_server(answer) as server:
            try:
                said = (await fetch(metrics_place(server.url), deadline_s)).decode()
            except ScrapeFailure as failure:
                said = str(failure)
            return said, server.requests

    return asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        text_answer("a 1\n"),
        b"HTTP/1.0 200 OK\r\n\r\na 1\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na \r\n2\r\n1\n\r\n0\r\n\r\n",
    ],
)
def test_a_body_comes_whole_however_its_end_is_told(answer: bytes) -> None:
    body, asked = fetched(answering(answer))
    assert body == "a 1\n"
    (head,) = asked
    assert head.startswith("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "authorization" not in head.lower()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (text_answer("", "302 Found", "Location: http://127.0.0.1:1/\r\n"), "not followed"),
        (text_answer("secret", "500 Oops"), "it answered 500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na 1\n", "closed in the middle"),
        (b"", "closed in the middle"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 9_000, "head of its answer exceeds"),
    ],
)
def test_anything_else_is_a_failure_with_its_cause(answer: bytes, cause: str) -> None:
    said, asked = fetched(answering(answer))
    assert cause in said
    assert "secret" not in said
    assert len(asked) == 1


def test_an_endless_body_is_cut_at_its_limit() -> None:
    assert fetched(endless)[0] == "its answer exceeds 4 MiB"


def test_a_silent_server_costs_the_deadline_and_no_more() -> None:
    assert fetched(silent, deadline_s=0.05)[0] == "no whole answer within 0.05 s"


def test_nobody_there_is_no_connection() -> None:
    async def run(make_url: Callable[[str], str]) -> str:
        async with metrics_server(silent) as server:
            url = server.url
        with pytest.raises(ScrapeFailure) as failure:
            await fetch(metrics_place(make_url(url)), 20.0)
        return str(failure.value)

    assert asyncio.run(run(lambda url: url)).startswith("no connection: ")
    assert asyncio.run(run(lambda _: f"http://{'a' * 70}:1")).startswith("no connection: ")
