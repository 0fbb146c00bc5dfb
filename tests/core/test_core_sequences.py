"""Sequences in virtual time: the same ones for any number of workers, each whole and in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loadgen_service.core.pacing.pacer import FAILURE_STREAK_ROUNDS, worker_share
from loadgen_service.core.pacing.sequence_pacer import MOST_AT_ONCE, SequencePacer, Step
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    plan_hash,
    plan_series,
    series_specs,
    workload_hash,
)
from loadgen_service.core.plan.sequences import SequencePlay, SequenceSet, sequences_from_bytes
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError

MS = 1_000_000
FILE = [[0, 1, 2], [3], [4, 5, 5, 6], [1, 0]]
COUNTS = SampleCounts(7, 7, SequenceSet.of(FILE))


def asked(**fields: Any) -> Settings:
    return Settings(**{"scenario": "concurrency", "concurrency": 6, "sequences": "f"} | fields)


def planned(counts: SampleCounts = COUNTS, series: int = -1, **fields: Any) -> SeriesPlan:
    ours = asked(**fields)
    return plan_series(ours, counts, series_specs(ours, counts)[series])


@cache
def usual_plan() -> SeriesPlan:
    return planned(sequence_id_start=100)


@dataclass
class Played:
    """What was sent of one sequence: samples, and its flags."""

    samples: list[int] = field(default_factory=list)
    starts: list[bool] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)


class Caller:
    """A worker whose requests end in a random order; notes what it sends, by sequence id."""

    def __init__(
        self, plan: SeriesPlan, ours: Settings, place: tuple[int, int], seed: int = 0
    ) -> None:
        self.pacer = SequencePacer(ours, plan, *place)
        self.plan = plan
        self.played: dict[int, Played] = defaultdict(Played)
        self.out: list[int] = []
        self.most_out = 0
        self.now_ns = 0
        self._random = Random(seed)

    def issue(self) -> None:
        while rows := self.pacer.take(self.now_ns):
            assert len(rows) <= MOST_AT_ONCE
            for row in rows:
                step: Step = self.pacer.step_of(row)
                one = self.played[step.sequence_id]
                one.samples.append(int(self.plan.samples[row % self.plan.request_count]))
                one.starts.append(row == step.first)
                one.ends.append(row == step.last)
            self.out += rows
        self.most_out = max(self.most_out, len(self.out))

    def end_one(self, completed: bool = True) -> None:
        row = self.out.pop(self._random.randrange(len(self.out)))
        self.pacer.note_end(row, completed)
        (self.pacer.complete if completed else self.pacer.fail)(1, self.now_ns)
        self.now_ns += MS

    def run(self, ends: int) -> None:
        """Issue and let ``ends`` requests end, one after another; then stop, and drain."""
        self.issue()
        for _ in range(ends):
            if not self.out:
                break
            self.end_one()
            self.issue()
        self.pacer.stop(self.now_ns - 1)
        self.issue()
        while self.out:
            self.end_one()
            self.issue()
        assert self.pacer.is_done(self.now_ns)


def expected(plan: SeriesPlan, number: int) -> list[int]:
    assert plan.sequences is not None
    first, last = plan.sequences.span(number)
    return [int(plan.samples[row % plan.request_count]) for row in range(first, last + 1)]


@settings(deadline=None)
@given(workers=st.integers(1, 6), seed=st.integers(0, 99), ends=st.integers(0, 300))
def test_any_number_of_workers_plays_the_same_sequences_each_whole_and_in_order(
    workers: int, seed: int, ends: int
) -> None:
    ours = asked(workers=workers, sequence_id_start=100)
    plan = usual_plan()  # of no number of workers: they divide it
    seen: set[int] = set()
    for index in range(workers):
        caller = Caller(plan, ours, (index, workers), seed)
        caller.run(ends)
        assert caller.most_out <= worker_share(6, index, workers)
        assert not seen & caller.played.keys()
        seen |= caller.played.keys()
        numbers = sorted(sequence_id - 100 for sequence_id in caller.played)
        # a worker begins its own, n = j, j + k, ..., in order and without a gap
        assert numbers == list(range(index, index + workers * len(numbers), workers))
        for number in numbers:
            one, whole = caller.played[number + 100], expected(plan, number)
            assert one.samples == whole[: len(one.samples)]
            assert one.starts == [True] + [False] * (len(one.samples) - 1)
            # the end is said once, whether it is the planned one or the series' own
            assert one.ends == [False] * (len(one.samples) - 1) + [True]


def test_what_is_played_comes_from_the_file_and_every_line_of_it() -> None:
    plan = planned()
    assert plan.sequences is not None
    drawn = [tuple(expected(plan, number)) for number in range(400)]
    counted = {one: drawn.count(one) for one in set(drawn)}
    assert set(counted) == {tuple(one) for one in FILE}
    assert min(counted.values()) > 60


def test_a_plan_repeats_its_sequences_in_other_rows_and_under_other_ids() -> None:
    play = SequencePlay(np.array([0, 3, 4, 8], dtype=np.int64), 10, 2)
    assert [play.span(number) for number in (0, 2, 3, 7)] == [(0, 2), (4, 7), (8, 10), (19, 19)]
    rows = np.arange(24)
    numbers = play.numbers_of(rows)
    assert numbers.tolist() == sorted(numbers.tolist())
    for number in range(9):
        first, last = play.span(number)
        assert np.flatnonzero(numbers == number).tolist() == list(range(first, last + 1))
    assert [play.id_of(number) for number in (0, 1, 9)] == [10, 12, 28]
    assert play.first_rows(np.array([0, 4, 7])).tolist() == [0, 11, 19]
    assert play.lengths(np.array([0, 4, 8])).tolist() == [3, 1, 4]
    assert [play.count_within(n) for n in (0, 2, 3, 4, 8, 10, 11)] == [0, 0, 1, 2, 3, 3, 4]


def test_series_of_one_run_share_no_id() -> None:
    plans = [planned(series=index, warmup_duration_ms=100) for index in (0, 1)]
    plays = [plan.sequences for plan in plans]
    ids = [{play.id_of(number) for number in range(1000)} for play in plays if play]
    assert len(ids) == 2
    assert not ids[0] & ids[1]
    assert min(ids[0] | ids[1]) == 1  # 0 is no sequence


def test_a_stop_lets_each_live_sequence_send_one_request_that_ends_it() -> None:
    counts = SampleCounts(50, 50, SequenceSet.of([list(range(50))]))
    caller = Caller(planned(counts, concurrency=3), asked(concurrency=3), (0, 1))
    caller.issue()
    for _ in range(10):
        caller.end_one()
        caller.issue()
    sent = {key: len(one.samples) for key, one in caller.played.items()}
    caller.pacer.stop(caller.now_ns - 1)
    caller.issue()
    assert not caller.pacer.is_done(caller.now_ns)  # they wait for the answer before
    while caller.out:
        caller.end_one()
        caller.issue()
    assert {key: len(one.samples) for key, one in caller.played.items()} == {
        key: count + 1 for key, count in sent.items()
    }
    assert all(one.ends[-1] and sum(one.ends) == 1 for one in caller.played.values())
    assert (caller.pacer.is_done(caller.now_ns), caller.pacer.ended_by) == (True, "stop")


def test_a_sequence_whose_request_fails_is_over_and_another_begins() -> None:
    counts = SampleCounts(5, 5, SequenceSet.of([[0, 1, 2, 3, 4]]))
    caller = Caller(planned(counts, concurrency=1), asked(concurrency=1), (0, 1))
    caller.issue()
    caller.end_one()
    caller.issue()
    caller.end_one(completed=False)
    caller.now_ns += 10_000 * MS  # beyond the pause after a failure
    caller.issue()
    assert caller.played[1].samples == [0, 1]
    assert caller.played[1].ends == [False, False]
    assert caller.played[2].samples == [0]


def test_nothing_but_failures_ends_the_series() -> None:
    caller = Caller(planned(concurrency=1), asked(concurrency=1), (0, 1))
    for _ in range(FAILURE_STREAK_ROUNDS):
        caller.now_ns += 10_000 * MS
        caller.issue()
        caller.end_one(completed=False)
    assert (caller.pacer.is_done(caller.now_ns), caller.pacer.ended_by) == (True, "failures")


@settings(deadline=None)
@given(workers=st.integers(1, 3), most=st.integers(4, 60))
def test_max_query_count_plays_the_whole_sequences_that_fit(workers: int, most: int) -> None:
    fields: dict[str, Any] = {"workers": workers, "max_query_count": most}
    ours, usual = asked(**fields), usual_plan()
    plan = replace(usual, effective=replace(usual.effective, max_query_count=most))
    assert plan.sequences is not None
    count = plan.sequences.count_within(most)
    callers = [Caller(plan, ours, (index, workers)) for index in range(workers)]
    for caller in callers:
        caller.issue()
        while caller.out:
            caller.end_one()
            caller.issue()
        assert caller.pacer.ended_by == "max_query_count"
    played = {key - 100: one.samples for caller in callers for key, one in caller.played.items()}
    assert played == {number: expected(plan, number) for number in range(count)}


def test_a_limit_that_fits_no_sequence_is_refused() -> None:
    counts = SampleCounts(5, 5, SequenceSet.of([[0, 1, 2, 3, 4]]))
    with pytest.raises(SettingsError, match="max_query_count: the first sequence has 5 requests"):
        planned(counts, max_query_count=4)


def test_all_requests_of_a_sequence_go_to_one_sut() -> None:
    for fields in ({}, {"sut_weights": [2, 1, 1]}):
        plan = planned(sut=["grpc://a:1", "grpc://b:1", "grpc://c:1"], **fields)
        assert plan.sequences is not None
        numbers = plan.sequences.numbers_of(np.arange(plan.request_count))
        changes = np.flatnonzero(np.diff(plan.sut_index))
        assert set(plan.sut_index.tolist()) == {0, 1, 2}
        assert (numbers[changes] != numbers[changes + 1]).all()


def test_wake_ns_says_when_a_request_may_be_due() -> None:
    counts = SampleCounts(2, 2, SequenceSet.of([[0, 1]]))
    caller = Caller(planned(counts, concurrency=1), asked(concurrency=1), (0, 1))
    assert caller.pacer.wake_ns() == 0
    caller.issue()
    assert caller.pacer.wake_ns() is None  # only an answer opens the loop
    caller.pacer.stop(5 * MS)
    assert caller.pacer.wake_ns() == 5 * MS + 1
    caller.now_ns = 6 * MS
    caller.issue()
    assert caller.pacer.wake_ns() is None
    caller.end_one()
    wake_ns = caller.pacer.wake_ns()
    assert wake_ns is not None
    assert wake_ns <= caller.now_ns
    caller.issue()
    assert caller.pacer.wake_ns() is None
    assert caller.played[1].ends == [False, True]


def test_hashes_cover_what_is_played() -> None:
    other = SampleCounts(7, 7, SequenceSet.of([*FILE[:-1], [0, 1]]))
    ours = asked()
    assert plan_hash(ours, COUNTS) == plan_hash(asked(workers=3), COUNTS)
    assert plan_hash(ours, COUNTS) != plan_hash(ours, other)
    assert plan_hash(ours, COUNTS) != plan_hash(asked(sequence_id_start=2), COUNTS)
    assert plan_hash(ours, COUNTS) != plan_hash(asked(sample_index_rng_seed=1), COUNTS)
    assert workload_hash(ours, COUNTS, "d") != workload_hash(ours, other, "d")
    assert workload_hash(ours, COUNTS, "d") == workload_hash(
        asked(sequence_id_start=2), COUNTS, "d"
    )


def test_sequences_cross_the_network_as_they_are() -> None:
    made = sequences_from_bytes(SequenceSet.of(FILE).to_bytes())
    assert made is not None
    assert made.to_lists() == FILE
    assert made.used_samples.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert sequences_from_bytes(b"") is None
    with pytest.raises(ValueError, match="do not add up"):
        sequences_from_bytes(SequenceSet.of(FILE).to_bytes()[:-8])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        *(
            ({"scenario": name}, f"sequences: the {name} scenario")
            for name in ("server", "single_stream", "multi_stream", "offline", "burst")
        ),
        ({"mode": "accuracy"}, "sequences: are measured in performance mode, not in accuracy"),
        ({"sut": ["openai://h:1/v1"]}, "sequences: KServe v2 has them, openai has not"),
        ({"sut": ["grpc://a:1"], "routing": "least_outstanding"}, "routing: least_outstanding"),
        ({"resolve": "all"}, "resolve: all would spread a sequence"),
        ({"performance_issue_same": True}, "performance_issue_same: with --sequences"),
        ({"performance_issue_unique": True}, "performance_issue_unique: with --sequences"),
        ({"performance_sample_count": 3}, "performance_sample_count: with --sequences"),
        ({"sequences": "", "sequence_id_start": 7}, "sequence_id_start: needs --sequences"),
        ({"sequence_id_start": 0}, "sequence_id_start"),
    ],
)
def test_what_does_not_go_with_sequences_is_refused_in_one_line(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        asked(**fields)
    assert len(caught.value.errors()) == 1
