"""Distributions of lengths, by inverse transform: sample n of a seed has one length anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from loadgen_service.errors import SettingsError

LENGTH_MAX: Final = 1_000_000
_FORMS: Final = "write constant:N, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA"
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Lengths:
    """``at`` gives the length below which a share of (0, 1) of all lie."""

    at: Callable[[float], float]

    def draw(self, seed: int, stream: int, index: int) -> int:
        """The length of sample ``index``, at least 1."""
        key = np.array([seed % 2**64, 0x4C454E + stream], np.uint64)
        counter = np.array([0, 0, 0, index], np.uint64)
        word = int(np.random.Philox(key=key, counter=counter).random_raw(1)[0])
        # 53 bits, in the open interval: a logarithm of 0 has no value.
        share = ((word >> 11) + 0.5) * 2.0**-53
        return min(max(1, round(self.at(share))), LENGTH_MAX)


def parse_lengths(setting: str, text: str) -> Lengths:
    """Read a distribution. Raises SettingsError naming the setting."""
    kind, *fields = text.split(":")
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = [math.nan]
    wanted = {"constant": 1, "uniform": 2, "lognormal": 2}.get(kind)
    if wanted != len(numbers) or not all(math.isfinite(n) and n >= 0 for n in numbers):
        raise SettingsError(f"{setting}: {text!r} is no distribution; {_FORMS}")
    if kind == "constant":
        return Lengths(lambda share: numbers[0])
    if kind == "uniform":
        low, high = sorted(numbers)
        return Lengths(lambda share: math.floor(low + share * (high - low + 1)))
    median, sigma = numbers
    return Lengths(lambda share: median * math.exp(sigma * _NORMAL.inv_cdf(share)))
