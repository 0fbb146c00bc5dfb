"""Prometheus text into samples: each name with its labels is parsed once, then known by heart."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from loadgen_service.core.facts.scraped_metrics import Sample
from loadgen_service.service.scrape.fetch import ScrapeFailure

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
