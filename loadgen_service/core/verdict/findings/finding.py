"""A finding, and the words in which measured quantities are said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from loadgen_service.core.units import NS_PER_MS, NS_PER_S, NS_PER_US


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition of the verdict: a stable ``name``, and plain words for a person.

    ``advice`` is empty where the condition is met. ``source`` says whose condition it is: LoadGen's
    four decide loadgen_valid, all decide valid. docs/reference/verdict.md lists every name.
    """

    name: str
    met: bool
    measured: str
    required: str
    advice: str = ""
    source: Literal["loadgen", "service"] = "service"


_STEPS: Final = ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "µs"))


def say_ns(duration_ns: int | None) -> str:
    """A duration in the unit that suits it: 12.5 ms; "none" where there is none."""
    if duration_ns is None:
        return "none"
    for size, unit in _STEPS:
        if abs(duration_ns) >= size:
            return f"{duration_ns / size:.4g} {unit}"
    return f"{duration_ns} ns"


def say_count(count: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 query, 2 queries."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def say_percentile(quantile: float) -> str:
    """p99, p99.9: the quantile as a percentile, without the noise of its double."""
    return f"p{quantile * 100:.6g}"
