"""How LoadGen's log files write values: numbers, JSON, times. Knows no key and no run.

By default every number keeps its full precision and every text is valid JSON; ``strict`` writes
what LoadGen's C++ streams write: six digits, bare strings, -nan and inf (specification 5).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from loadgen_service.core.units import NS_PER_MS

LogValue = str | int | float | bool | None | Sequence[int] | Mapping[str, str]

_LARGEST_WHOLE: Final = 1e15
"""Doubles below it that are whole are written without a point, as LoadGen's streams do."""


def number_text(value: float, *, strict: bool, missing: str = "null") -> str:
    """An integer or a double. ``missing`` stands for nan and infinity unless ``strict``."""
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "-nan" if strict else missing
    if math.isinf(value):
        if strict:
            return "inf" if value > 0 else "-inf"
        return missing
    if strict:
        return f"{value:g}"
    return str(int(value)) if value.is_integer() and abs(value) < _LARGEST_WHOLE else repr(value)


def fixed_text(value: float, *, strict: bool) -> str:
    """A double that LoadGen's summary writes with two decimals; by default with all it has."""
    if strict and math.isfinite(value):
        return f"{value:.2f}"
    return number_text(value, strict=strict, missing="unknown")


def json_text(value: LogValue, *, strict: bool) -> str:
    """One JSON value. ``strict`` leaves strings unescaped, as LoadGen does."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if strict else json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return number_text(value, strict=strict)
    if isinstance(value, Mapping):
        return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))
    return f"[{','.join(map(str, value))}]"


def fraction_text(value: int, unit: int) -> str:
    """``value / unit`` with all its decimals (``unit`` a power of ten): ns in ms, or in us."""
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(value), unit)
    return f"{sign}{whole}.{rest:0{len(str(unit)) - 1}d}"


def power_time(unix_ns: int) -> str:
    """UTC as the power tools want it: MM-DD-YYYY HH:MM:SS.mmm."""
    moment = _moment(unix_ns)
    return moment.strftime("%m-%d-%Y %H:%M:%S") + f".{unix_ns // NS_PER_MS % 1000:03d}"


def test_datetime(unix_ns: int, utc_offset_s: int) -> str:
    """When the test began, with a Z; LoadGen puts the Z behind its local time."""
    return (_moment(unix_ns) + timedelta(seconds=utc_offset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(unix_ns: int) -> datetime:
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, tz=UTC)
