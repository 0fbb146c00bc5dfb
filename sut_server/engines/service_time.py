"""Seeded service times: how long the synthetic model takes for its n-th request.

Every distribution is the inverse transform of one uniform number a request, so that a seed gives
the same times whatever the traffic. Knows no clock; the tail is known in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Final

from sut_server.errors import UsageError

NS_PER_MS: Final = 1_000_000
SMALLEST_UNIFORM: Final = 2.0**-54
"""Stands in for a drawn 0.0, which has no logarithm; below the spacing of random()."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """A distribution of service times; ``text`` is how the user wrote it."""

    text: str
    quantile_ms: Callable[[float], float]

    def quantile_ns(self, quantile: float) -> int:
        """The service time that a share ``quantile`` (0 < quantile < 1) of requests stays under."""
        return max(0, round(self.quantile_ms(quantile) * NS_PER_MS))

    def draws(self, seed: int) -> Iterator[int]:
        """Endless service times in nanoseconds, the same for the same seed."""
        random = Random(f"service-time {seed}").random
        while True:
            yield self.quantile_ns(random() or SMALLEST_UNIFORM)


def parse_service_time(text: str) -> ServiceTime:
    """Read ``constant:MS``, ``lognormal:MEDIAN_MS:SIGMA``, ``exponential:MEAN_MS``,
    ``bimodal:MS1:MS2:P`` (P is the share of MS2) or
    ``tokens:FIRST_MS:TOKEN_MS:MEDIAN_TOKENS:SIGMA`` (first token, then one time each further one).

    Raises UsageError with the forms for anything else.
    """
    kind, *fields = text.split(":")
    if kind not in _KINDS:
        raise UsageError(f"--service-time {text!r}: {_FORMS}")
    count, make = _KINDS[kind]
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise UsageError(f"--service-time {text!r}: not numbers; {_FORMS}") from None
    if len(numbers) != count or not all(math.isfinite(n) and n >= 0 for n in numbers):
        raise UsageError(f"--service-time {text!r}: {count} numbers >= 0 wanted; {_FORMS}")
    return ServiceTime(text, make(numbers))


_FORMS: Final = (
    "write constant:MS, lognormal:MEDIAN_MS:SIGMA, exponential:MEAN_MS, bimodal:MS1:MS2:P "
    "or tokens:FIRST_MS:TOKEN_MS:MEDIAN_TOKENS:SIGMA"
)


def _constant(numbers: list[float]) -> Callable[[float], float]:
    return lambda _: numbers[0]


def _lognormal(numbers: list[float]) -> Callable[[float], float]:
    median_ms, sigma = numbers
    return lambda quantile: median_ms * math.exp(sigma * _NORMAL.inv_cdf(quantile))


def _exponential(numbers: list[float]) -> Callable[[float], float]:
    return lambda quantile: -numbers[0] * math.log1p(-quantile)


def _bimodal(numbers: list[float]) -> Callable[[float], float]:
    first_ms, second_ms, share = numbers
    if share > 1:
        raise UsageError(f"--service-time bimodal: P is a share from 0 to 1, not {share:g}")
    return lambda quantile: first_ms if quantile < 1 - share else second_ms


def _tokens(numbers: list[float]) -> Callable[[float], float]:
    first_ms, token_ms, median_tokens, sigma = numbers

    def quantile_ms(quantile: float) -> float:
        tokens = max(1, round(median_tokens * math.exp(sigma * _NORMAL.inv_cdf(quantile))))
        return first_ms + (tokens - 1) * token_ms

    return quantile_ms


_KINDS: Final[dict[str, tuple[int, Callable[[list[float]], Callable[[float], float]]]]] = {
    "constant": (1, _constant),
    "lognormal": (2, _lognormal),
    "exponential": (1, _exponential),
    "bimodal": (3, _bimodal),
    "tokens": (4, _tokens),
}
