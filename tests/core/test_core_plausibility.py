"""Forged or damaged records are counted and take the verdict with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from series_builder import MS, Series, closed, server

from loadgen_service.core.records import plausibility
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.plausibility import implausible_rows

Forging = Callable[[dict[str, np.ndarray]], None]


def moved(name: str, by_ns: int) -> Forging:
    def forge(records: dict[str, np.ndarray]) -> None:
        records[name][7] += by_ns

    return forge


def put(name: str, value: int) -> Forging:
    def forge(records: dict[str, np.ndarray]) -> None:
        records[name][7] = value

    return forge


def earlier(records: dict[str, np.ndarray]) -> None:
    for name in ("scheduled_ns", "released_ns", "issued_ns", "first_response_ns", "completed_ns"):
        records[name][7] -= 1


FORGED: dict[str, tuple[Forging, str]] = {
    "due later": (moved("scheduled_ns", 1), plausibility.NOT_THE_PLANS),
    "all a nanosecond earlier": (earlier, plausibility.NOT_THE_PLANS),
    "negative latency": (moved("completed_ns", -10 * MS), plausibility.OUT_OF_ORDER),
    "completed at no instant": (put("completed_ns", NEVER), plausibility.OUT_OF_ORDER),
    "first piece after the last": (moved("first_response_ns", 1), plausibility.OUT_OF_ORDER),
    "first piece before the issue": (put("first_response_ns", 0), plausibility.OUT_OF_ORDER),
    "issued before it was released": (put("released_ns", 1 << 60), plausibility.OUT_OF_ORDER),
    "issued after its answer": (moved("issued_ns", 100 * MS), plausibility.OUT_OF_ORDER),
    "an unknown SUT": (put("sut_index", 1), plausibility.OTHER_SUT),
    "a SUT below the first": (put("sut_index", -1), plausibility.OTHER_SUT),
    "completed with a failure's code": (put("code", 14), plausibility.CONTRADICTORY),
    "negative tokens": (put("token_count", -1), plausibility.NEGATIVE_TOKENS),
}


def sound() -> Series:
    return server(sut=["grpc://127.0.0.1:1"])


def test_sound_records_are_plausible() -> None:
    made = sound()
    assert implausible_rows(made.plan, made.table(), 1) == {}
    assert "accounting" not in made.unmet()


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_record_is_named_and_makes_the_run_invalid(name: str) -> None:
    forge, reason = FORGED[name]
    made = sound()
    forge(made.records)
    assert implausible_rows(made.plan, made.table(), 1) == {reason: 1}
    verdict = made.verdict()
    assert verdict.valid is False
    (accounting,) = [one for one in verdict.findings if one.name == "accounting"]
    assert f"1 request {reason}" in accounting.measured


def test_a_closed_loop_takes_its_due_instants_from_its_records() -> None:
    made = closed("single_stream", 200)
    made.records["scheduled_ns"][5] -= 3
    assert implausible_rows(made.plan, made.table(), 0) == {}
    made.records["completed_ns"][5] = made.records["scheduled_ns"][5] - 1
    assert implausible_rows(made.plan, made.table(), 0) == {plausibility.OUT_OF_ORDER: 1}


def test_a_failed_request_without_an_answer_is_plausible() -> None:
    made = sound()
    for name, value in (("status", Status.FAILED), ("code", 14), ("completed_ns", NEVER)):
        made.records[name][7] = value
    made.records["first_response_ns"][7] = NEVER
    assert implausible_rows(made.plan, made.table(), 1) == {}
