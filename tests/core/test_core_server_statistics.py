"""What a SUT counted in a series: differences, means, and what cannot be told."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from series_builder import server
from series_summary import summary_of

from loadgen_service.core.facts.server_stats import (
    ModelReading,
    ServerFacts,
    ServerStatistics,
    server_statistics,
)

MS = 1_000_000


def reading(requests: int, *, model: str = "m", sut: int = 0, version: str = "1") -> ModelReading:
    """Each request: 10 ms, of which 4 queued, 1 + 3 + 1 computed; one in two batches of 2."""
    return ModelReading(
        sut_index=sut,
        model=model,
        version=version,
        composing=model != "m",
        inference_count=requests,
        execution_count=requests // 2,
        times={
            "success": (requests, requests * 10 * MS),
            "fail": (requests // 10, requests * MS),
            "queue": (requests, requests * 4 * MS),
            "compute_input": (requests, requests * MS),
            "compute_infer": (requests, requests * 3 * MS),
            "compute_output": (requests, requests * MS),
        },
        batches=((2, requests // 2, requests * 2 * MS),),
    )


def told(facts: ServerFacts, completed: int | None = 100, ms: float = 12.0) -> ServerStatistics:
    found = server_statistics(facts, 0, completed, ms * MS)
    assert found is not None
    return found


def test_the_series_is_the_difference_of_both_readings() -> None:
    found = told(ServerFacts(before=[reading(40)], after=[reading(140)]))
    (model,) = found.models
    assert (model.sample_count, model.execution_count, model.mean_batch_size) == (100, 50, 2.0)
    assert model.times["success"].count == 100
    assert model.times["success"].total_ns == 1000 * MS
    assert model.times["queue"].mean_ns == 4 * MS
    assert model.times["fail"].count == 10
    assert model.other_ns == 1 * MS
    assert [(b.size, b.execution_count, b.mean_compute_ns) for b in model.batches] == [
        (2, 50, 4 * MS)
    ]
    assert found.server_ns == 10 * MS
    assert found.outside_ns == 2 * MS
    assert found.surplus_count == 0


def test_a_counter_that_went_backwards_is_said_and_gives_no_figure() -> None:
    found = told(ServerFacts(before=[reading(40)], after=[reading(30)]))
    (model,) = found.models
    assert model.went_back
    assert model.sample_count is None
    assert model.times == {}
    assert found.server_ns is found.outside_ns is found.surplus_count is None


@pytest.mark.parametrize("name", ["success", "queue", "compute_output"])
def test_one_lower_sum_is_enough_to_know_of_a_restart(name: str) -> None:
    before, after = reading(40), reading(140)
    after = replace(after, times={**after.times, name: (39, 10**12)})
    assert told(ServerFacts(before=[before], after=[after])).models[0].went_back


def test_a_batch_size_that_vanished_is_a_restart() -> None:
    after = replace(reading(140), batches=())
    assert told(ServerFacts(before=[reading(40)], after=[after])).models[0].went_back


def test_other_clients_are_counted_as_a_surplus() -> None:
    facts = ServerFacts(before=[reading(40)], after=[reading(140)])
    assert told(facts, completed=90).surplus_count == 10


def test_fewer_answers_than_ours_are_compared_with_nothing() -> None:
    found = told(ServerFacts(before=[reading(40)], after=[reading(140)]), completed=150)
    assert found.surplus_count == -50
    assert found.outside_ns is None
    assert found.server_ns == 10 * MS


def test_parts_of_an_ensemble_stand_beside_it_and_add_nothing_to_it() -> None:
    facts = ServerFacts(
        before=[reading(0), reading(0, model="part")],
        after=[reading(100), reading(200, model="part")],
    )
    found = told(facts)
    assert [one.composing for one in found.models] == [False, True]
    assert found.server_ns == 10 * MS
    assert found.surplus_count == 0


def test_a_version_that_did_nothing_before_counts_from_nothing() -> None:
    facts = ServerFacts(before=[reading(40)], after=[reading(40), reading(100, version="2")])
    found = told(facts)
    assert [one.sample_count for one in found.models] == [0, 100]
    assert found.surplus_count == 0


def test_a_model_that_is_gone_afterwards_is_named() -> None:
    assert "m 1" in told(ServerFacts(before=[reading(40)])).missing


def test_a_sut_without_statistics_says_why_and_its_sibling_has_figures() -> None:
    facts = ServerFacts(before=[reading(0)], after=[reading(100)], missing=[(1, "none there")])
    other = server_statistics(facts, 1, 10, 1.0)
    assert other is not None
    assert (other.missing, other.models) == ("none there", [])
    assert told(facts).missing == ""


def test_nobody_asked_is_null() -> None:
    assert server_statistics(None, 0, 1, 1.0) is None
    assert summary_of(server()).suts[0].server_statistics is None


def test_no_request_means_no_mean() -> None:
    found = told(ServerFacts(before=[reading(40)], after=[reading(40)]), completed=0)
    assert found.server_ns is None
    assert found.models[0].other_ns is None


def test_facts_come_back_from_the_journal() -> None:
    facts = ServerFacts(before=(reading(40),), after=(reading(140),), missing=((1, "none"),))
    back = ServerFacts.from_journal(json.loads(json.dumps(asdict(facts))))
    assert told(back) == told(facts)
    assert back.missing == facts.missing


def test_the_summary_joins_them_with_what_clients_saw() -> None:
    made = server()
    count = len(made.records["row"])
    made.facts = replace(
        made.facts, server=ServerFacts(before=[reading(0)], after=[reading(count)])
    )
    found = summary_of(made).suts[0].server_statistics
    assert found is not None
    assert found.surplus_count == 0
    service = summary_of(made).suts[0].service_ns
    assert service is not None
    assert found.client_service_ns == service.mean
