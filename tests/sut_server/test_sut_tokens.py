"""Token streams of the reference server: what was drawn, what is sent, what the log says."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from sut_fakes import FakeAlarms

from sut_server.engines.faults import FaultPlan
from sut_server.engines.token_source import TokenSource
from sut_server.engines.token_times import parse_token_times
from sut_server.errors import UsageError
from sut_server.token_log import TokenLog

MS = 1_000_000


def source(log: TokenLog | None = None, faults: FaultPlan | None = None, limit: int = 0):
    alarms = FakeAlarms()
    times = parse_token_times("constant:4", "constant:20", "constant:5")
    clock = lambda: alarms.now_ns  # noqa: E731
    plan = faults or FaultPlan()
    made = TokenSource(times, 1, limit, plan, alarms, clock, log)  # type: ignore[arg-type]
    return made, alarms


def test_the_same_seed_gives_the_same_streams_and_another_seed_others():
    times = parse_token_times("lognormal:20:0.8", "exponential:30", "lognormal:5:0.5")
    first, again = (list(islice(times.draws(7), 50)) for _ in range(2))
    assert first == again
    assert first != list(islice(times.draws(8), 50))
    assert all(stream == sorted(stream) and len(stream) >= 1 for stream in first)


def test_tokens_leave_at_their_instants_and_the_log_tells_it(tmp_path: Path):
    log = TokenLog(tmp_path / "tokens.jsonl")
    made, alarms = source(log)
    seen = []
    made.begin(0, lambda number, is_last: seen.append((alarms.now_ns, number, is_last)), seen.clear)
    alarms.ring_all()
    instants = [20 * MS, 25 * MS, 30 * MS, 35 * MS]
    assert seen == [(at, n, n == 3) for n, at in enumerate(instants)]
    log.write()
    told = json.loads((tmp_path / "tokens.jsonl").read_text())
    assert told == {"received_ns": 0, "sent_ns": [20 * MS, 25 * MS, 30 * MS, 35 * MS]}


def test_a_caller_may_ask_for_fewer_tokens_or_leave():
    made, alarms = source()
    seen: list[tuple[str, int]] = []
    made.begin(0, lambda number, _: seen.append(("short", number)), seen.clear, max_count=2)
    left = made.begin(0, lambda number, _: seen.append(("left", number)), seen.clear)
    left.cancel()
    alarms.ring_all()
    assert seen == [("short", 0), ("short", 1)]


def test_places_and_stalls_hold_for_streams_too():
    stall = FaultPlan(stall_at_ns=22 * MS, stall_ns=100 * MS)
    made, alarms = source(faults=stall, limit=1)
    seen = []
    for _ in range(2):
        made.begin(0, lambda *_: seen.append(alarms.now_ns // MS), seen.clear)
    alarms.ring_all()
    assert seen == [20, 125, 130, 135, 155, 160, 165, 170]


def test_an_injected_error_takes_the_place_of_the_first_token():
    made, alarms = source(faults=FaultPlan(error_rate=1.0))
    failed = []
    made.begin(0, lambda *_: failed.append("token"), lambda: failed.append("error"))
    alarms.ring_all()
    assert failed == ["error"]


def test_a_wrong_distribution_names_its_flag(tmp_path: Path):
    with pytest.raises(UsageError, match="--token-time 'often'"):
        parse_token_times("constant:1", "constant:1", "often")
    with pytest.raises(UsageError, match="--token-log"):
        TokenLog(tmp_path / "nowhere" / "log")
