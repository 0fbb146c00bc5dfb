"""One reading of Prometheus metrics over HTTP/1.1: bounded in time and size, nothing followed.

Prometheus text into samples: each name with its labels is parsed once, then known by heart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

import httptools
from prometheus_client.parser import text_string_to_metric_families

from loadgen_service.core.facts.scraped_metrics import Sample
from loadgen_service.core.settings.authority import MetricsPlace

ANSWER_BYTES_MAX: Final = 4 << 20
"""A large vLLM's metrics are some 200 KB; Triton's with a hundred models less."""
HEAD_BYTES_MAX: Final = 64 << 10
_READ_BYTES: Final = 64 << 10
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)


class ScrapeFailure(Exception):
    """A reading that gave nothing. Its text names the cause and repeats nothing of the answer."""


async def fetch(place: MetricsPlace, deadline_s: float) -> bytes:
    """The body of a GET, on a connection of its own. Raises ScrapeFailure."""
    try:
        async with asyncio.timeout(deadline_s):
            return await _exchange(place)
    except TimeoutError:
        raise ScrapeFailure(f"no whole answer within {deadline_s:g} s") from None
    except OSError as error:
        raise ScrapeFailure(f"no connection: {error.strerror or error}") from None
    except UnicodeError:  # what the resolver's encoding of names does not take
        raise ScrapeFailure("no connection: its host is no name") from None


async def _exchange(place: MetricsPlace) -> bytes:
    reader, writer = await asyncio.open_connection(place.host, place.port)
    try:
        writer.write(
            f"GET {place.path} HTTP/1.1\r\nHost: {place.authority}\r\n"
            "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        answer = _Answer()
        while not answer.is_whole:
            answer.feed(await reader.read(_READ_BYTES))
        return bytes(answer.body)
    finally:
        writer.transport.abort()


class _Answer:
    """Gathers one answer; raises ScrapeFailure as soon as it is clear that it is no good one."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_whole = False
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._has_head = False
        self._has_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_whole = True

    def feed(self, data: bytes) -> None:
        """Take what came; empty: the peer closed, which ends an answer that told no length."""
        if not data:
            if not self._has_head or self._has_length:
                raise ScrapeFailure("it closed in the middle of its answer")
            self.is_whole = True
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise ScrapeFailure("its answer is no HTTP/1.1") from None
        self._judge(len(data))

    def _judge(self, byte_count: int) -> None:
        if not self._has_head:
            self._head_bytes += byte_count
            if self._head_bytes > HEAD_BYTES_MAX:
                raise ScrapeFailure(f"the head of its answer exceeds {HEAD_BYTES_MAX >> 10} KiB")
            return
        status = self._parser.get_status_code()
        if status in _REDIRECTS:
            raise ScrapeFailure(f"it answered {status}, and redirects are not followed")
        if status != _OK:
            raise ScrapeFailure(f"it answered {status}")
        if len(self.body) > ANSWER_BYTES_MAX:
            raise ScrapeFailure(f"its answer exceeds {ANSWER_BYTES_MAX >> 20} MiB")


KNOWN_MAX: Final = 50_000
"""Names with labels that are kept; above it all are forgotten: a server that makes new ones."""


class TextReader:
    """Reads the texts of one server, one after another. Blocking: megabytes take seconds.

    The parser needs some 80 us a line. A server repeats its lines but for their values, so all
    readings after the first cost about a hundredth of it.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Mapping[str, str]]] = {}

    def samples(self, body: bytes) -> list[Sample]:
        """Every sample, named as the text names it. Raises ScrapeFailure where it is none, or
        empty."""
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        try:
            # only this ends a line: what str.splitlines() takes for an end may stand in a label
            lines = body.decode("utf-8").split("\n")
            found = [self._sample(line) for line in lines if line.strip() and not _is_comment(line)]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ScrapeFailure("its answer is no Prometheus text") from None
        if not found:
            raise ScrapeFailure("its answer holds no metric")
        return found

    def _sample(self, line: str) -> Sample:
        series, _, value = line.rstrip().rpartition(" ")
        known = self._known.get(series)
        if known is not None:
            with contextlib.suppress(ValueError):  # such as tabs before a timestamp
                return (*known, float(value))
        # A line by itself has no type: the parser would let every counter end in `_total`, which
        # Triton's do not.
        (family,) = text_string_to_metric_families(line)
        (sample,) = family.samples
        if sample.timestamp is None and series and _is_number(value):
            self._known[series] = (sample.name, sample.labels)
        return sample.name, sample.labels, float(sample.value)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
