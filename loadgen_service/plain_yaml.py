"""YAML as settings use it: plain values, of bounded size, depth and expansion.

Aliases are counted as often as they are used: nine lines can name a billion values. Dates, sets,
binary data, other keys than text and values within themselves are refused, each in one line.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar, Final

import yaml

TEXT_BYTES_MAX: Final = 1 << 20
VALUES_MAX: Final = 20_000
"""Values with every alias written out; a settings file has a hundred."""

DEPTH_MAX: Final = 50

_PLAIN: Final = (str, int, float, bool, type(None))
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlTrouble(ValueError):
    """One line: what is wrong. ``line``: where, from 1; 0: not known."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


def load_yaml(text: str) -> object:
    """The one document in ``text``; None where it is empty. Raises YamlTrouble."""
    if len(text) > TEXT_BYTES_MAX:
        raise YamlTrouble(f"longer than {TEXT_BYTES_MAX} characters")
    try:
        _bound_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _Expansion().count(node, 0)
            found = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise YamlTrouble(f"not valid YAML{f' at line {line}' if line else ''}", line) from None
    except YamlTrouble:
        raise
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise YamlTrouble("a value that cannot be read; write it in quotes") from None
    _require_plain(found)
    return found


def _bound_events(text: str) -> None:
    """Before anything recurses into the text."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise YamlTrouble(f"nested deeper than {DEPTH_MAX} levels")
        if count > 2 * VALUES_MAX:
            raise YamlTrouble(f"more than {VALUES_MAX} values")


class _Expansion:
    """Counts nodes with every alias written out; one that is known is counted by its number."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def count(self, node: Any, depth: int) -> int:
        known = self._known.get(id(node))
        if known == 0 or depth > DEPTH_MAX:
            line = node.start_mark.line + 1
            raise YamlTrouble(f"a value holds itself, or is nested too deep, at line {line}")
        if known is not None:
            return known
        self._known[id(node)] = 0  # being counted
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(self.count(one, depth + 1) for one in node.value)
        elif isinstance(node, yaml.MappingNode):
            total += sum(self.count(one, depth + 1) for pair in node.value for one in pair)
        if total > VALUES_MAX:
            raise YamlTrouble(f"more than {VALUES_MAX} values, with its aliases written out")
        self._known[id(node)] = total
        return total


def _require_plain(value: object) -> None:
    """``value`` is bounded by now, and holds no cycle."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise YamlTrouble(f"the name {key!r} is no text; write it in quotes")
            _require_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner)
    elif not isinstance(value, _PLAIN):
        raise YamlTrouble(f"{value!r:.60} is a {type(value).__name__}; write it in quotes")
    elif isinstance(value, float) and not math.isfinite(value):
        raise YamlTrouble(f"{value} is no finite number")


_NUMBER_OF_ANY_YAML: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+"
)
"""What YAML 1.2 reads as a number; 1.1 has text in some of them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if _NUMBER_OF_ANY_YAML.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


class _Dumper(yaml.SafeDumper):
    """Quotes text that another reader would take for a number."""

    yaml_representers: ClassVar[dict[Any, Any]] = {
        **yaml.SafeDumper.yaml_representers,
        str: _text,
    }


def dump_yaml(values: dict[str, Any]) -> str:
    """A mapping as YAML that readers of YAML 1.1 and 1.2 take as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
