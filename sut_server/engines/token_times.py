"""Seeded token streams: how many tokens the n-th request gets, and when each of them is due.

Pure arithmetic on instants that the caller supplies. Counts and times come from one seed, so that
what a load generator reports can be compared with what was meant, whatever the traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sut_server.engines.service_time import ServiceTime, parse_service_time
from sut_server.errors import UsageError

TOKEN_COUNT_MAX: Final = 1_000_000
"""A drawn count beyond it is cut: a heavy tail must not fill the memory."""


@dataclass(frozen=True, slots=True)
class TokenTimes:
    """Distributions of one model's streams: tokens, time to the first, time of each further one."""

    count: ServiceTime
    first: ServiceTime
    gap: ServiceTime

    def draws(self, seed: int) -> Iterator[list[int]]:
        """Endless streams: ns from the start of the work to each token, ascending.

        Streams are drawn whole, so one cut short by its caller shifts none that follow.
        """
        counts = self.count.draws(seed)
        firsts = self.first.draws(seed + 1)
        gaps = self.gap.draws(seed + 2)
        while True:
            # A count is written like a time in ms; its unit here is tokens.
            wanted = round(next(counts) / 1_000_000)
            offset_ns = next(firsts)
            offsets = [offset_ns]
            for _ in range(min(max(1, wanted), TOKEN_COUNT_MAX) - 1):
                offset_ns += next(gaps)
                offsets.append(offset_ns)
            yield offsets


def parse_token_times(count: str, first: str, gap: str) -> TokenTimes:
    """Read the flags' distributions. Raises UsageError naming the flag that is wrong."""
    named = (("--token-count", count), ("--first-token-time", first), ("--token-time", gap))
    parsed = [_parse(flag, text) for flag, text in named]
    return TokenTimes(*parsed)


def _parse(flag: str, text: str) -> ServiceTime:
    try:
        return parse_service_time(text)
    except UsageError as error:
        raise UsageError(str(error).replace("--service-time", flag)) from None
