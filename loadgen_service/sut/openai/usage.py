"""Token counts as a server tells them: numbers in any spelling, checked before they are figures."""

from __future__ import annotations

from typing import Any, Final

COUNT_MAX: Final = 2**31 - 1
"""The records keep counts of tokens as int32."""


class UsageError(ValueError):
    """A number that is no count of tokens; the text names the field."""


def token_count(usage: Any, name: str) -> int | None:
    """The field ``name`` of a usage block; None where the server does not tell it.

    Whole numbers may come as floats or as text. Raises ``UsageError`` for a number below 0, above
    ``COUNT_MAX`` or with a fraction: a figure of it would be wrong.
    """
    told = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(told, str):
        told = _number(told)
    if told is None or isinstance(told, bool) or not isinstance(told, (int, float)) or told != told:
        return None
    fault = _fault(told)
    if fault:
        raise UsageError(f"usage: {name} is {fault}, which is no count of tokens")
    return int(told)


def _fault(told: float) -> str:
    if told < 0:
        return "below 0"
    if told > COUNT_MAX:
        return f"above {COUNT_MAX}"
    return "" if told == int(told) else "no whole number"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
