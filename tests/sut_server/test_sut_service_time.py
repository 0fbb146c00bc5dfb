"""Seeded service times, faults and places: the tail that a measured one is compared with."""

from __future__ import annotations

from itertools import islice

import pytest
from sut_fakes import FakeAlarms

from sut_server.engines.faults import Fate, Fates, FaultPlan, Slots
from sut_server.engines.service_time import parse_service_time
from sut_server.errors import UsageError

MS = 1_000_000


def draws(text: str, count: int, seed: int = 1) -> list[int]:
    return list(islice(parse_service_time(text).draws(seed), count))


def test_a_seed_gives_the_same_times() -> None:
    assert draws("lognormal:5:0.5", 50) == draws("lognormal:5:0.5", 50)
    assert draws("lognormal:5:0.5", 50) != draws("lognormal:5:0.5", 50, seed=2)


def test_constant_is_constant() -> None:
    assert set(draws("constant:2.5", 10)) == {2_500_000}


@pytest.mark.parametrize(
    "text",
    ["lognormal:5:0.5", "exponential:3", "bimodal:1:20:0.1", "tokens:100:10:50:0.6"],
)
def test_drawn_quantiles_are_near_the_known_ones(text: str) -> None:
    drawn = sorted(draws(text, 20_000))
    known = parse_service_time(text)
    # 20,000 draws put a quantile within 1.5 % of rank; checked against the known neighbours.
    for quantile in (0.5, 0.85, 0.95):
        low, high = known.quantile_ns(quantile - 0.015), known.quantile_ns(quantile + 0.015)
        assert low <= drawn[int(quantile * len(drawn))] <= high


def test_bimodal_gives_the_share_of_the_second() -> None:
    drawn = draws("bimodal:1:20:0.25", 10_000)
    assert set(drawn) == {MS, 20 * MS}
    assert 0.23 < drawn.count(20 * MS) / len(drawn) < 0.27


def test_token_times_are_the_first_and_whole_steps() -> None:
    assert all((ns - 100 * MS) % (10 * MS) == 0 for ns in draws("tokens:100:10:50:0.6", 100))


@pytest.mark.parametrize(
    "text",
    ["", "normal:1", "constant", "constant:a", "constant:-1", "bimodal:1:2", "bimodal:1:2:1.5",
     "constant:nan", "lognormal:1:inf"],
)  # fmt: skip
def test_a_wrong_distribution_is_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_service_time(text)
    assert "\n" not in str(caught.value)


def test_fates_keep_their_shares() -> None:
    fates = Fates(FaultPlan(error_rate=0.2, drop_rate=0.1), seed=3)
    drawn = [fates.draw() for _ in range(10_000)]
    assert 0.18 < drawn.count(Fate.ERROR) / 10_000 < 0.22
    assert 0.085 < drawn.count(Fate.DROP) / 10_000 < 0.115


def test_without_faults_everything_is_answered() -> None:
    fates = Fates(FaultPlan(), seed=3)
    assert {fates.draw() for _ in range(100)} == {Fate.ANSWER}


def spans(
    limit: int, plan: FaultPlan, *asked: tuple[int, int], cancelled: tuple[int, ...] = ()
) -> list[tuple[int, int] | None]:
    """Start and end of each (received, service) request; None for one that never began."""
    alarms = FakeAlarms()
    slots, found = Slots(limit, plan, alarms), {}
    tickets = [
        slots.take(received, service, lambda *span, number=number: found.update({number: span}))
        for number, (received, service) in enumerate(asked)
    ]
    for number in cancelled:
        assert tickets[number].cancel() == (number not in found)
    alarms.ring_all()
    return [found.get(number) for number in range(len(asked))]


def test_without_a_limit_requests_do_not_wait() -> None:
    assert spans(0, FaultPlan(), (0, 10), (0, 10), (0, 10)) == [(0, 10)] * 3


def test_with_a_limit_requests_queue_first_come_first_served() -> None:
    found = spans(2, FaultPlan(), (0, 10), (1, 4), (2, 5), (50, 5))
    assert found == [(0, 10), (1, 5), (5, 10), (50, 55)]


def test_who_leaves_while_waiting_takes_no_slot_and_who_is_served_keeps_it() -> None:
    asked = [(0, 10), *[(1, 50)] * 400, (2, 5)]
    found = spans(1, FaultPlan(), *asked, cancelled=tuple(range(401)))
    assert found[0] == (0, 10)
    assert found[1:401] == [None] * 400
    assert found[401] == (10, 15)


def test_a_stall_holds_work_begun_before_and_work_that_comes_inside() -> None:
    plan = FaultPlan(stall_at_ns=100, stall_ns=1000)
    found = spans(0, plan, (0, 10), (95, 10), (100, 10), (500, 10), (1100, 10))
    assert found == [(0, 10), (95, 1105), *[(1100, 1110)] * 3]


def test_the_stall_counts_from_the_first_request() -> None:
    plan = FaultPlan(stall_at_ns=100, stall_ns=50)
    assert spans(0, plan, (7000, 1), (7100, 10)) == [(7000, 7001), (7150, 7160)]
