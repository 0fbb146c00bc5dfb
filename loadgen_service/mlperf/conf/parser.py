"""LoadGen's configuration files: lines ``model.scenario.key = value`` read token by token.

The rules, odd ones included, are those of the official parser (specification 4.2): decides what a
file says, not what it means for a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

# What C's strtoul (base 0) and strtod accept as a whole token.
_INTEGER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"[^ \t\n\v\f\r]+")
"""Separators are those of C's isspace: other blanks of Unicode or Latin-1 belong to a token."""
_UINT64: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class ConfError:
    """One refused line: its number and what the parser says of it."""

    line_number: int
    text: str


@dataclass(frozen=True, slots=True)
class ConfTable:
    """Values of one file by ``model.scenario.key``; ``errors`` means that none of it applies.

    ``line_numbers``: where each value stands.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[ConfError, ...] = ()
    line_numbers: Mapping[str, int] = field(default_factory=dict)

    def find(self, model: str, scenario: str, key: str) -> str | None:
        """The value that holds: exact, any model, any scenario, any of both (specification 4.3)."""
        name = self.name_of(model, scenario, key)
        return None if name is None else self.values[name]

    def name_of(self, model: str, scenario: str, key: str) -> str | None:
        """The whole name, as it stands in the file, of the value that ``find`` returns."""
        for name in (
            f"{model}.{scenario}.{key}",
            f"*.{scenario}.{key}",
            f"{model}.*.{key}",
            f"*.*.{key}",
        ):
            if name in self.values:
                return name
        return None


def parse_conf(lines: Iterable[str]) -> ConfTable:
    """Read a file's lines. A value that is followed by another number is replaced by it."""
    values: dict[str, str] = {}
    line_numbers: dict[str, int] = {}
    errors: list[ConfError] = []
    for number, line in enumerate(lines, start=1):
        tokens = _TOKEN.findall(line)
        problem = _read_line(tokens, values)
        if problem:
            errors.append(ConfError(number, problem))
        elif tokens and tokens[0] in values:
            line_numbers[tokens[0]] = number
    return ConfTable(values if not errors else {}, tuple(errors), line_numbers)


def _read_line(tokens: list[str], values: dict[str, str]) -> str | None:
    """Add the line's value to ``values``; return what is wrong with it, if anything."""
    if not tokens or tokens[0] == "#" or len(tokens) == 1 or tokens[1] == "#":
        return None
    if tokens[1] != "=":
        return f"expected 'key = value', found {tokens[1]!r} after {tokens[0]!r}"
    for token in tokens[2:]:
        if not (_INTEGER.fullmatch(token) or _FLOAT.fullmatch(token)):
            return f"{tokens[0]}: value must be an integer or a number, found {token!r}"
        values[tokens[0]] = token
    return None


def as_integer(token: str) -> int:
    """C's strtoull with base 0: the longest integer prefix, modulo 2**64 (``1e3`` is 1)."""
    match = _INTEGER.match(token)
    if not match:
        return 0
    text = match.group().lower().lstrip("+")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    return sign * int(digits, base) % _UINT64


def as_number(token: str) -> float:
    """C's strtod: a decimal or hexadecimal number as a double."""
    if token.lower().lstrip("+-").startswith("0x"):
        return float.fromhex(token)
    return float(token)
