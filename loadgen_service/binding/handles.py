"""What a script constructs: SUTs and sample libraries under integer handles, as the binding has it.

Decides nothing about runs. A handle that does not exist is a UserError that names it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from loadgen_service.binding.values import QuerySample
from loadgen_service.errors import UserError

Issue = Callable[[list[QuerySample]], None]
_Object = TypeVar("_Object")


@dataclass(frozen=True, slots=True)
class ScriptSut:
    """A script's system under test: its callbacks, and the name that LoadGen would log."""

    issue: Issue
    flush: Callable[[], None]
    name: Callable[[], str]


@dataclass(frozen=True, slots=True)
class ScriptQsl:
    """A script's query sample library."""

    total_sample_count: int
    performance_sample_count: int
    load: Callable[[list[int]], None]
    unload: Callable[[list[int]], None]


_NUMBERS: Final = itertools.count(1)
_SUTS: Final[dict[int, ScriptSut]] = {}
_QSLS: Final[dict[int, ScriptQsl]] = {}


def ConstructSUT(issue_query: Issue, flush_queries: Callable[[], None]) -> int:
    """A SUT; LoadGen calls it PySUT."""
    return _keep(_SUTS, ScriptSut(issue_query, flush_queries, lambda: "PySUT"))


def ConstructFastSUT(
    issue_query: Callable[[list[int], list[int]], None], flush_queries: Callable[[], None]
) -> int:
    """A SUT whose callback takes two plain lists, ids and indexes."""

    def issue(samples: Sequence[QuerySample]) -> None:
        issue_query([sample.id for sample in samples], [sample.index for sample in samples])

    return _keep(_SUTS, ScriptSut(issue, flush_queries, lambda: "PyFastSUT"))


def ConstructQDL(
    issue_query: Issue, flush_queries: Callable[[], None], name: Callable[[], str]
) -> int:
    """A SUT that names itself."""
    return _keep(_SUTS, ScriptSut(issue_query, flush_queries, name))


def ConstructQSL(
    total_sample_count: int,
    performance_sample_count: int,
    load_samples: Callable[[list[int]], None],
    unload_samples: Callable[[list[int]], None],
) -> int:
    """A query sample library."""
    library = ScriptQsl(total_sample_count, performance_sample_count, load_samples, unload_samples)
    return _keep(_QSLS, library)


def DestroySUT(sut: int) -> None:
    """Forget a SUT; a handle that is not there is ignored."""
    _SUTS.pop(sut, None)


DestroyFastSUT = DestroyQDL = DestroySUT


def DestroyQSL(qsl: int) -> None:
    """Forget a library."""
    _QSLS.pop(qsl, None)


def _keep(store: dict[int, _Object], made: _Object) -> int:
    handle = next(_NUMBERS)
    store[handle] = made
    return handle


def sut_of(handle: int) -> ScriptSut:
    """The SUT of a handle. Raises UserError."""
    try:
        return _SUTS[handle]
    except KeyError:
        raise UserError(f"StartTest: {handle} is no SUT; use what ConstructSUT returned") from None


def qsl_of(handle: int) -> ScriptQsl:
    """The library of a handle. Raises UserError."""
    try:
        return _QSLS[handle]
    except KeyError:
        raise UserError(f"StartTest: {handle} is no QSL; use what ConstructQSL returned") from None
