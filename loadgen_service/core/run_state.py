"""The life of a run as a table: which event leads from which state to which.

The names are those of ``RunState`` in loadgen.proto; a test compares the two lists.
"""

from __future__ import annotations

from enum import Enum, IntEnum

from loadgen_service.errors import LoadgenError


class RunState(IntEnum):
    """Where a run stands; the numbers are the wire's."""

    QUEUED = 1
    LEASING = 2
    PREPARING = 3
    RUNNING = 4
    DRAINING = 5
    WRITING = 6
    DONE = 7
    FAILED = 8
    INTERRUPTED = 9


class RunEvent(Enum):
    """What happens to a run."""

    TURN_CAME = "its turn came"
    WORKERS_LEASED = "workers were leased"
    SERIES_STARTED = "a series was started"
    ALL_ISSUED = "everything was issued"
    ALL_DRAINED = "everything was drained"
    RESULTS_WRITTEN = "results were written"
    INTERRUPTED = "a person stopped it"
    FAILED = "it failed"


class IllegalMove(LoadgenError):
    """An event came in a state that does not know it: a defect of this program."""


FINAL_STATES = frozenset({RunState.DONE, RunState.FAILED, RunState.INTERRUPTED})

_S, _E = RunState, RunEvent
TRANSITIONS: dict[tuple[RunState, RunEvent], RunState] = {
    (_S.QUEUED, _E.TURN_CAME): _S.LEASING,
    (_S.LEASING, _E.WORKERS_LEASED): _S.PREPARING,
    (_S.PREPARING, _E.SERIES_STARTED): _S.RUNNING,
    (_S.RUNNING, _E.ALL_ISSUED): _S.DRAINING,
    (_S.DRAINING, _E.SERIES_STARTED): _S.RUNNING,
    (_S.DRAINING, _E.ALL_DRAINED): _S.WRITING,
    (_S.WRITING, _E.RESULTS_WRITTEN): _S.DONE,
    # Stopped by a person: before any load there is nothing to write; after it, partial results
    # are written first, so RUNNING and DRAINING go on to WRITING in their ordinary way.
    (_S.QUEUED, _E.INTERRUPTED): _S.INTERRUPTED,
    (_S.LEASING, _E.INTERRUPTED): _S.INTERRUPTED,
    (_S.PREPARING, _E.INTERRUPTED): _S.INTERRUPTED,
    (_S.WRITING, _E.INTERRUPTED): _S.INTERRUPTED,
    **{(state, _E.FAILED): _S.FAILED for state in _S if state not in FINAL_STATES},
}


def next_state(state: RunState, event: RunEvent) -> RunState:
    """State after ``event``; raises :class:`IllegalMove` naming both where the table has none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalMove(f"a run in state {state.name} cannot take: {event.value}") from None
