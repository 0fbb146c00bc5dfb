"""The collector: stored once, acknowledged when durable, gaps and full disks named."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.records.columns import REQUEST_COLUMNS, Status
from loadgen_service.service.collect.collector import Collector, CorruptBatch, Received
from loadgen_service.service.collect.live_stats import LiveStats, figures_of
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segment_reader import read_columns, read_responses
from loadgen_service.service.storage.segments import frames


def received(**body: object) -> Received:
    return Received.from_bytes(pb.Batch(**body).SerializeToString())


def record_batch(sequence: int, rows: list[int], latency_ns: int = 1000) -> Received:
    count = len(rows)
    values = {
        "row": np.array(rows),
        "completed_ns": np.full(count, latency_ns),
        "status": np.full(count, Status.COMPLETED),
    }
    columns = {
        name: np.asarray(values.get(name, np.zeros(count))).astype(dtype).tobytes()
        for name, dtype in REQUEST_COLUMNS.items()
    }
    crc = 0
    for content in columns.values():
        crc = zlib.crc32(content, crc)
    return received(
        records=pb.RecordBatch(
            sequence=sequence,
            count=count,
            columns=[pb.Column(name=n, content=c) for n, c in columns.items()],
            crc32=crc,
        )
    )


def response_batch(sequence: int, responses: dict[int, bytes]) -> Received:
    row = np.array(list(responses), "<i8").tobytes()
    length = np.array([len(c) for c in responses.values()], "<i8").tobytes()
    content = b"".join(responses.values())
    return received(
        responses=pb.ResponseBatch(
            sequence=sequence,
            count=len(responses),
            row=row,
            length=length,
            content=content,
            crc32=zlib.crc32(content, zlib.crc32(length, zlib.crc32(row))),
        )
    )


def collect(
    tmp_path: Path,
    test: Callable[[Collector], Awaitable[None]],
    told: Callable[[], None] = lambda: None,
) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")

    async def run() -> None:
        collector = Collector(directory, told)
        try:
            await asyncio.wait_for(test(collector), 10)
        finally:
            await collector.close()

    asyncio.run(run())
    return directory


def test_rows_and_responses_come_back_from_the_disk(tmp_path: Path) -> None:
    async def test(collector: Collector) -> None:
        await collector.offer(0, record_batch(1, [0, 2]))
        await collector.offer(0, response_batch(2, {0: b"abc", 2: b""}))
        await collector.offer(1, record_batch(1, [1]))

    segments = collect(tmp_path, test).segments(0)
    columns = read_columns(segments)
    assert columns["row"].tolist() == [0, 2, 1]
    assert "server_queue_ns" not in columns
    assert list(read_responses(segments)) == [(0, b"abc"), (2, b"")]


def test_batches_are_stored_as_they_came_however_many_share_an_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_service.service.collect.collector.GROUP_BYTES", 1000)
    # A field that this version does not know, as a newer worker might send it.
    unknown = b"\xfa\x7f\x03abc"
    sent = [
        Received.from_bytes(
            record_batch(sequence, [2 * sequence, 2 * sequence + 1]).content + extra
        )
        for sequence, extra in enumerate([b"", unknown] * 5, start=1)
    ]

    async def test(collector: Collector) -> None:
        acks = await asyncio.gather(*(collector.offer(0, one) for one in sent))
        assert [ack.sequence for ack in acks] == list(range(1, 11))
        assert collector.live[0].all.completed == 20

    [(_, path)] = collect(tmp_path, test).segments(0)
    assert list(frames(path)) == [one.content for one in sent]


@pytest.mark.parametrize("reason", ["hurry", "much", "close", "time"])
def test_what_comes_soon_after_an_fsync_shares_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    interval_s = 0.02 if reason == "time" else 3600.0
    monkeypatch.setattr("loadgen_service.service.collect.collector.COMMIT_EVERY_S", interval_s)
    told: list[str] = []

    async def test(collector: Collector) -> None:
        await collector.offer(0, record_batch(1, [0]))
        waiting = [collector.offer(0, record_batch(number, [number])) for number in (2, 3, 4)]
        if reason == "hurry":
            collector.hurry()
        elif reason == "much":
            monkeypatch.setattr("loadgen_service.service.collect.collector.URGENT_BYTES", 1000)
            waiting.append(collector.offer(1, record_batch(1, list(range(100)))))
        elif reason == "close":
            await collector.close()
        assert [(await one).error for one in waiting] == [""] * len(waiting)
        assert len(told) == 2

    segments = collect(tmp_path, test, lambda: told.append("")).segments(0)
    assert read_columns(segments)["row"].tolist()[:4] == [0, 2, 3, 4]


def test_the_next_series_is_in_no_hurry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen_service.service.collect.collector.COMMIT_EVERY_S", 3600.0)
    told: list[str] = []

    async def test(collector: Collector) -> None:
        collector.hurry()
        for number in (1, 2):
            await collector.offer(0, record_batch(number, [number]))
        assert len(told) == 2
        collector.begin_series(1, LiveStats())
        waiting = [collector.offer(0, record_batch(number, [number])) for number in (3, 4)]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in waiting)

    collect(tmp_path, test, lambda: told.append(""))
    assert len(told) == 3


def test_a_double_is_acknowledged_again_and_stored_once(tmp_path: Path) -> None:
    async def test(collector: Collector) -> None:
        one, two = (collector.offer(0, record_batch(1, [0])) for _ in range(2))
        assert (await one).sequence == (await two).sequence == 1
        assert (await collector.offer(0, record_batch(1, [0]))).error == ""
        assert collector.live[0].all.completed == 1

    assert len(read_columns(collect(tmp_path, test).segments(0))["row"]) == 1


def test_what_never_came_is_named(tmp_path: Path) -> None:
    async def test(collector: Collector) -> None:
        await collector.offer(3, record_batch(1, [0]))
        await collector.offer(3, record_batch(4, [1]))
        assert collector.gaps == ["worker 3: batches 2 to 3 never came"]
        assert collector.durable_sequence(3) == 4

    collect(tmp_path, test)


def test_an_acknowledgement_means_that_the_batch_is_on_the_disk(tmp_path: Path) -> None:
    async def test(collector: Collector) -> None:
        assert collector.durable_sequence(0) == 0
        waiting = collector.offer(0, record_batch(1, [0]))
        assert not waiting.done()
        await waiting
        assert len(read_columns(RunDirectory(tmp_path / "run").segments(0))["row"]) == 1

    collect(tmp_path, test)


@pytest.mark.parametrize("field", ["crc32", "count"])
def test_a_corrupt_batch_is_refused_and_may_come_again(tmp_path: Path, field: str) -> None:
    async def test(collector: Collector) -> None:
        batch = record_batch(1, [0])
        setattr(batch.batch.records, field, getattr(batch.batch.records, field) + 1)
        with pytest.raises(CorruptBatch):
            collector.offer(0, batch)
        await collector.offer(0, record_batch(1, [0]))
        assert collector.gaps == []

    collect(tmp_path, test)


def test_a_full_disk_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise OSError(28, "No space left on device")

    async def test(collector: Collector) -> None:
        await collector.offer(0, record_batch(1, [0]))
        monkeypatch.setattr("loadgen_service.service.storage.segments.Segment.sync", refuse)
        ack = await collector.offer(0, record_batch(2, [1]))
        assert ack.sequence == 2
        assert "No space left on device" in ack.error
        assert collector.disk_error == ack.error
        assert len(collector.gaps) == 1

    collect(tmp_path, test)


def test_batches_after_the_end_are_refused_with_a_reason(tmp_path: Path) -> None:
    async def test(collector: Collector) -> None:
        await collector.close()
        assert (await collector.offer(0, record_batch(1, [0]))).error == "the run is over"

    collect(tmp_path, test)


def test_live_figures_have_a_language_models_first_tokens_and_rate() -> None:
    live = LiveStats(4)
    zeros = np.zeros(4, np.int64)
    columns = {name: zeros.astype(dtype) for name, dtype in REQUEST_COLUMNS.items()}
    columns["status"][:] = (Status.COMPLETED, Status.COMPLETED, Status.FAILED, Status.COMPLETED)
    columns["token_count"][:] = (10, 30, 7, 0)
    columns["first_response_ns"][:] = (50_000_000, 50_000_000, 900, -1)
    columns["completed_ns"][:] = 2_000_000_000
    live.take(figures_of(columns))
    shown = live.figures(4)
    assert shown.ttft_ns_p50 == pytest.approx(50_000_000, rel=0.01)
    assert shown.tokens_per_second == 20.0
    columns["token_count"][:] = 0
    silent = LiveStats(4)
    silent.take(figures_of(columns))
    assert (silent.figures(4).ttft_ns_p50, silent.figures(4).tokens_per_second) == (0, 0.0)
