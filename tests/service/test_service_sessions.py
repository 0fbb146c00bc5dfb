"""What the service remembers of workers: leases, silence, readmission."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.errors import RunError
from loadgen_service.service.run.worker_sessions import OUTGOING_LIMIT, Sessions, Worker

S = 1_000_000_000


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = 100 * S

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def in_loop(test: Callable[[Sessions], None], clock: FakeClock) -> None:
    async def run() -> None:
        test(Sessions(clock))

    asyncio.run(run())


def admit(sessions: Sessions, worker_id: str = "a", epoch: int = 0) -> Worker:
    return sessions.admit(pb.Hello(worker_id=worker_id, host="h", pid=7, epoch=epoch))


def sent(worker: Worker) -> list[str | None]:
    assert worker.outgoing is not None
    kinds = []
    while not worker.outgoing.empty():
        kinds.append(worker.outgoing.get_nowait().WhichOneof("message"))
    return kinds


def test_a_lease_takes_exactly_as_many_as_asked(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        admit(sessions, "a")
        assert sessions.lease("run", 2) is None
        admit(sessions, "b")
        admit(sessions, "c")
        leased = sessions.lease("run", 2)
        assert leased is not None
        assert [(w.worker_id, w.index, w.run_id) for w in leased] == [
            ("a", 0, "run"),
            ("b", 1, "run"),
        ]
        assert [w.worker_id for w in sessions.idle()] == ["c"]

    in_loop(test, clock)


def test_suspect_workers_are_not_leased(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        clock.now_ns += 3 * S
        assert sessions.lease("run", 1) is None
        sessions.hear(worker, pb.FromWorker(heartbeat=pb.Heartbeat()))
        assert sessions.lease("run", 1) == [worker]

    in_loop(test, clock)


def test_silence_is_a_loss_only_after_the_limit_and_ends_with_a_word(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        clock.now_ns += 10 * S
        assert worker.lost_reason(clock(), 10 * S) == ""
        clock.now_ns += 1
        assert worker.lost_reason(clock(), 10 * S) == "silent for 10.0 s"
        sessions.hear(worker, pb.FromWorker(heartbeat=pb.Heartbeat()))
        assert worker.lost_reason(clock(), 10 * S) == ""

    in_loop(test, clock)


def test_a_worker_in_a_run_survives_its_connection(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        sessions.lease("run", 1)
        worker.send(pb.ToWorker(arm=pb.Arm(series_index=0)))
        sessions.detach(worker, worker.outgoing)
        again = admit(sessions, epoch=1)
        assert again is worker
        assert worker.index == 0
        assert sent(worker) == ["welcome", "arm"]

    in_loop(test, clock)


def test_an_old_connection_that_ends_late_does_not_cut_the_new_one(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        old = worker.outgoing
        admit(sessions, epoch=1)
        sessions.detach(worker, old)
        assert worker.outgoing is not None
        assert sessions.idle() == [worker]

    in_loop(test, clock)


def test_an_idle_worker_that_leaves_is_forgotten(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        sessions.detach(worker, worker.outgoing)
        assert sessions.workers == {}

    in_loop(test, clock)


def test_a_dead_process_is_lost_at_once(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        sessions.lease("run", 1)
        sessions.forget_process(7, "elsewhere", "no")
        assert worker.lost_reason(clock(), 10 * S) == ""
        sessions.forget_process(7, "h", "killed by SIGKILL")
        assert worker.lost_reason(clock(), 10 * S) == "killed by SIGKILL"
        sessions.release([worker])
        assert sessions.workers == {}

    in_loop(test, clock)


def test_the_last_issue_and_the_last_word_are_told_apart(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        notice = pb.SeriesDone(series_index=1, issued=5, completed=3, all_issued=True)
        sessions.hear(worker, pb.FromWorker(done=notice))
        assert worker.words(1).all_issued
        assert worker.words(1).done is None
        last = pb.SeriesDone(series_index=1, issued=5, completed=5, last_batch_sequence=2)
        sessions.hear(worker, pb.FromWorker(done=last))
        assert worker.words(1).done == last

    in_loop(test, clock)


def test_a_ping_is_answered_with_both_instants(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        sent(worker)
        sessions.hear(worker, pb.FromWorker(ping=pb.Ping(index=3, sent_ns=9)))
        assert worker.outgoing is not None
        pong = worker.outgoing.get_nowait().pong
        assert (pong.index, pong.sent_ns, pong.received_ns) == (3, 9, clock())

    in_loop(test, clock)


def test_a_stuck_stream_is_an_error_not_a_leak(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        worker = admit(sessions)
        assert worker.outgoing is not None
        for _ in range(OUTGOING_LIMIT - worker.outgoing.qsize()):
            worker.send(pb.ToWorker(pong=pb.Pong()))
        with pytest.raises(RunError, match="does not read"):
            worker.send(pb.ToWorker(pong=pb.Pong()))

    in_loop(test, clock)


def test_a_worker_of_a_run_that_is_over_is_told_to_finish(clock: FakeClock) -> None:
    def test(sessions: Sessions) -> None:
        hello = pb.Hello(worker_id="a", host="h", pid=7, run_id="of a dead service")
        worker = sessions.admit(hello)
        assert sent(worker) == ["welcome", "finish"]

    in_loop(test, clock)
