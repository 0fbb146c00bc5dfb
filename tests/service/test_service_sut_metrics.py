"""A service reads metrics through a run: into its directory, its summary and its reports."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from crashed_service import SETTINGS, crash_while_writing
from loadgen_proto import loadgen_pb2 as pb
from metrics_server import MetricsServer, answering, endless, metrics_server, text_answer
from service_bench import Bench, failed_findings, summary_of
from service_fake_worker import Faults

from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.report.html.run_page import render_html
from loadgen_service.service.results.scraped_files import Reading, append_reading, read_readings
from loadgen_service.service.run import scraper
from loadgen_service.service.run.recovery import recover_all
from loadgen_service.service.storage.run_directory import RunDirectories

# Written by hand after vLLM's documentation of its metrics; never served by a real vLLM here.
VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} 0.25
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total {cpu_s}
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{{le="0.1",model_name="m"}} 3.0
vllm:time_to_first_token_seconds_bucket{{le="+Inf",model_name="m"}} 4.0
"""

# An endless series, which goes on until there are as many readings as a test wants.
LASTING = {"scenario": "concurrency", "min_duration_ms": 1000, "min_query_count": 1}
QUICK = {"sut_metrics_interval_ms": 100}


DEADLINE_NS = scraper.deadline_ns


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests may not answer within a tenth of a second."""
    monkeypatch.setattr(scraper, "deadline_ns", lambda _: 5_000_000_000)


async def vllm(server: MetricsServer, writer: asyncio.StreamWriter) -> None:
    """Each reading finds one request more, and half a second of CPU more."""
    count = len(server.requests)
    writer.write(text_answer(VLLM.format(running=count, cpu_s=count / 2)))


Enough = Callable[[list[Reading]], bool]


def six(readings: list[Reading]) -> bool:
    return len(readings) >= 6


async def finish(bench: Bench, *urls: str, enough: Enough = six) -> tuple[Summary, Path]:
    """A run whose load lasts until it saw ``enough`` readings of every address."""
    before: list[int] = []

    def too_few() -> bool:
        files = sorted(bench.results.glob("*/series/sut-metrics-*.jsonl"))
        kept = [list(read_readings(file)) for file in files]
        if len(kept) < len(urls):
            return True
        if not before:
            before.extend(map(len, kept))
        return not all(
            enough(readings[count:]) for readings, count in zip(kept, before, strict=True)
        )

    bench.worker(hold=too_few)
    status = await bench.finish(**LASTING, **QUICK, sut_metrics=list(urls))
    assert status.state == pb.DONE
    return summary_of(status), Path(status.run_directory)


def test_readings_become_figures_a_parquet_file_and_words(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        async with metrics_server(vllm) as server:
            summary, directory = await finish(bench, server.url)
            (target,) = summary.sut_metrics or ()
        assert target.failed_count == 0
        figures = {one.name: one for one in target.figures}
        running, cpu = figures["vllm:num_requests_running"], figures["process_cpu_seconds_total"]
        assert 2 <= running.count < target.scrape_count
        assert running.min is not None
        assert running.max == running.min + running.count - 1
        assert figures["vllm:kv_cache_usage_perc"].mean == 0.25
        assert cpu.first == running.min / 2
        assert cpu.per_second is not None
        assert cpu.per_second > 0
        rows = pq.read_table(directory / "sut_metrics.parquet").to_pylist()
        assert len(rows) == 6 * target.scrape_count
        seen = [row for row in rows if row["name"] == "vllm:num_requests_running"]
        assert [row["value"] for row in seen] == list(range(1, target.scrape_count + 1))
        times = [row["time_ns"] for row in seen]
        assert times == sorted(times)
        assert times[0] < 0, "the first reading is before the load"
        assert json.loads(seen[0]["labels"]) == {"engine": "0", "model_name": "m"}
        text = (directory / "report.txt").read_text()
        assert "KV cache used (vllm:kv_cache_usage_perc) engine=0, model_name=m" in text
        page = html.unescape((directory / "report.html").read_text())
        assert "servers' metrics said" in page
        assert '"per cent"' in page
        assert not (directory / "series").exists()
        assert summary.notes == []

    bench(test)


def test_no_fault_of_an_address_stops_the_run_or_the_other_addresses(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        redirect = text_answer("", "301 Moved", "Location: http://127.0.0.1:1/metrics\r\n")
        async with (
            metrics_server(vllm) as good,
            metrics_server(endless) as long,
            metrics_server(answering(redirect)) as moved,
            metrics_server(answering(text_answer("<html>"))) as other,
        ):
            urls = [good.url, long.url, moved.url, other.url]
            summary, directory = await finish(bench, *urls)
        told = {target.url: target for target in summary.sut_metrics or ()}
        assert told[good.url].failed_count == 0
        assert told[good.url].scrape_count > 2
        for url in urls[1:]:
            assert told[url].scrape_count == 0
            assert told[url].failed_count > 1
        assert "redirects are not followed" in told[moved.url].failure
        assert told[other.url].failure == "its answer is no Prometheus text"
        assert told[long.url].failure == "its answer exceeds 4 MiB"
        assert len(summary.notes) == 3
        assert all("the run goes on without its metrics" in note for note in summary.notes)
        assert failed_findings(summary) == []
        assert "failed (the first: it answered 301" in (directory / "report.txt").read_text()

    bench(test)


def test_a_server_that_dies_in_the_run_leaves_what_it_said_and_counts_as_failed(bench: Any) -> None:
    async def dying(server: MetricsServer, writer: asyncio.StreamWriter) -> None:
        await vllm(server, writer)
        if len(server.requests) == 5:
            server.end()

    def ends_in_failure(readings: list[Reading]) -> bool:
        return bool(readings) and bool(readings[-1].failure)

    async def test(bench: Bench) -> None:
        async with metrics_server(dying) as server:
            summary, directory = await finish(bench, server.url, enough=ends_in_failure)
        (target,) = summary.sut_metrics or ()
        assert target.scrape_count == 5
        assert target.failed_count > 0
        assert target.failure.startswith("no connection")
        assert pq.read_metadata(directory / "sut_metrics.parquet").num_rows == 5 * 6
        assert summary.notes == []

    bench(test)


def test_a_slow_server_misses_its_ticks_and_the_run_does_not_wait(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraper, "deadline_ns", DEADLINE_NS)

    async def slow(server: MetricsServer, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) > 1:
            await asyncio.Event().wait()
        await vllm(server, writer)

    async def test(bench: Bench) -> None:
        async with metrics_server(slow) as server:
            summary, _ = await finish(bench, server.url)
        (target,) = summary.sut_metrics or ()
        assert target.scrape_count <= 1
        assert target.failed_count >= 1
        assert target.failure == "no whole answer within 0.1 s"

    bench(test)


def test_a_full_disk_ends_the_metrics_and_not_the_run(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scraper, "append_reading", refuse)

    async def test(bench: Bench) -> None:
        async with metrics_server(vllm) as server:
            bench.worker()
            status = await bench.finish(**LASTING, **QUICK, sut_metrics=[server.url])
            summary, directory = summary_of(status), Path(status.run_directory)
            assert len(server.requests) == 1, "it is not asked for what cannot be kept"
        (note,) = summary.notes
        assert "No space left on device; its metrics end there" in note
        assert pq.read_metadata(directory / "sut_metrics.parquet").num_rows == 0

    bench(test)


def test_a_run_that_asks_for_no_metrics_has_neither_field_nor_file(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        status = await bench.finish()
        assert summary_of(status).sut_metrics is None
        directory = Path(status.run_directory)
        assert not (directory / "sut_metrics.parquet").exists()
        assert "metrics of the SUTs" not in (directory / "report.txt").read_text()

    bench(test)


def test_a_page_whose_parquet_file_is_gone_still_shows_the_figures(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        async with metrics_server(vllm) as server:
            summary, directory = await finish(bench, server.url)
        (directory / "sut_metrics.parquet").write_bytes(b"no parquet")
        page = render_html(summary, directory)
        assert "KV cache used" in page
        assert '"per cent"' not in page

    bench(test)


def test_whole_lines_come_back_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines.jsonl"
    readings = [
        Reading(1, 2, samples=[("a", {"b": "c"}, 1.5)]),
        Reading(3, 4, "no connection", []),
        Reading(5, 6, samples=[("a", {}, float("inf"))]),
    ]
    for reading in readings[:2]:
        append_reading(path, reading)
    with path.open("ab") as file:
        file.write(b'{"at_ns":7,"samples":[["a"')  # a service died here; the next one goes on
    append_reading(path, Reading(8, 9))  # ends the torn line and is lost with it
    append_reading(path, readings[2])
    assert list(read_readings(path)) == readings
    assert list(read_readings(tmp_path / "none")) == []


def test_a_run_of_a_dead_service_gets_its_metrics_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9/metrics"
    asked = SETTINGS.model_copy(update={"sut_metrics": [url]})
    crash_while_writing(tmp_path, monkeypatch, Faults(), asked)
    (directory,) = RunDirectories(tmp_path / "results").unfinished()
    recover_all(RunDirectories(tmp_path / "results"))
    summary = summary_from_json((directory.path / "summary.json").read_bytes())
    (target,) = summary.sut_metrics or ()
    assert target.url == url
    assert target.failed_count >= 1
    assert target.failure.startswith("no connection")
