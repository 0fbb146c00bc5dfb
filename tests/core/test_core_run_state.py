"""The run's life: legal paths, refused moves, and agreement with the wire."""

from __future__ import annotations

import pytest
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.run_state import (
    FINAL_STATES,
    TRANSITIONS,
    IllegalMove,
    RunEvent,
    RunState,
    next_state,
)

E = RunEvent


def walk(*events: RunEvent) -> RunState:
    state = RunState.QUEUED
    for event in events:
        state = next_state(state, event)
    return state


def test_states_are_those_of_the_wire() -> None:
    wire = {name: number for name, number in pb.RunState.items() if number}
    assert {state.name: int(state) for state in RunState} == wire


def test_a_run_of_two_series_ends_done() -> None:
    series = (E.SERIES_STARTED, E.ALL_ISSUED)
    ending = (E.ALL_DRAINED, E.RESULTS_WRITTEN)
    assert walk(E.TURN_CAME, E.WORKERS_LEASED, *series, *series, *ending) is RunState.DONE


def test_a_stopped_run_writes_before_it_is_interrupted() -> None:
    loaded = (E.TURN_CAME, E.WORKERS_LEASED, E.SERIES_STARTED, E.ALL_ISSUED, E.ALL_DRAINED)
    assert walk(*loaded, E.INTERRUPTED) is RunState.INTERRUPTED


def test_nothing_leads_out_of_a_final_state() -> None:
    assert not [state for state, _ in TRANSITIONS if state in FINAL_STATES]


def test_every_other_state_can_fail() -> None:
    failing = {state for state, event in TRANSITIONS if event is E.FAILED}
    assert failing == set(RunState) - FINAL_STATES


def test_an_illegal_move_names_state_and_event() -> None:
    with pytest.raises(IllegalMove, match=r"QUEUED.*everything was issued"):
        next_state(RunState.QUEUED, E.ALL_ISSUED)
