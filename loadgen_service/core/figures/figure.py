"""How a figure is shown: beside its field, so that every output iterates instead of naming it.

A field of a dataclass or of a pydantic model carries one: ``Annotated[float | None, Figure(...)]``.
Text, HTML, the live page, Prometheus and comparisons ask ``figures_of`` a class.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, get_type_hints

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from loadgen_service.core.units import NS_PER_S

Unit = Literal["ns", "share", "cores", "bytes", "count"]

_PROMETHEUS_SCALE: Final[dict[Unit, float]] = {"ns": NS_PER_S}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``about``: what it is, one sentence without its full stop.

    ``better``: which direction is good; empty where neither is. ``group`` names the table that it
    stands in. ``metric``: its Prometheus name; empty: it is none. ``indent``: depth below the
    figure that it is a part of. ``told_from`` and ``words``: from this value on reports and
    comparisons say ``words``, with the value as ``{}``.
    """

    label: str
    unit: Unit
    about: str
    better: Literal["less", "more", ""] = ""
    group: str = ""
    metric: str = ""
    indent: int = 0
    told_from: float | None = None
    words: str = ""

    def to_prometheus(self, value: float) -> float:
        """``value`` in Prometheus' base unit."""
        return value / _PROMETHEUS_SCALE.get(self.unit, 1)

    def told(self, value: float | None) -> str:
        """What is worth a word; empty below ``told_from``."""
        if self.told_from is None or (value or 0) < self.told_from:
            return ""
        return self.words.format(value)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The field's own; a figure checks nothing."""
        return handler(source)

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The field's own, with label, unit and description."""
        return handler(core) | {
            "description": self.about,
            "title": self.label,
            "unit": self.unit,
            **({"better": self.better} if self.better else {}),
        }


@cache
def _figures_of(owner: Hashable) -> dict[str, Figure]:
    hints = get_type_hints(owner, include_extras=True)
    return {
        name: one
        for name, hint in hints.items()
        for one in getattr(hint, "__metadata__", ())
        if isinstance(one, Figure)
    }


def figures_of(owner: type) -> dict[str, Figure]:
    """Field -> its figure, in the order of the class and, before it, of its bases."""
    return _figures_of(owner)


def shown(thing: object, group: str = "") -> Iterator[tuple[str, Figure, Any]]:
    """``(field, figure, value)`` of a group's figures that are known of ``thing``."""
    for name, figure in figures_of(type(thing)).items():
        value = getattr(thing, name)
        if figure.group == group and value is not None:
            yield name, figure, value
