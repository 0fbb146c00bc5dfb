"""The HTTP ports over real sockets: metrics over several runs, the page's calls, refusals."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from service_fake_worker import Faults

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.service.auth.token_book import TokenBook
from loadgen_service.service.collect.live_stats import LiveStats
from loadgen_service.service.run.lifetime_totals import OTHER_SUT, SUTS_MAX, Sums
from loadgen_service.web.prometheus import BOUNDS_NS
from loadgen_service.web.server import WebServer, serve_web

DEADLINE_S = 20.0

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
"""Three hundred bytes that name 387 million values."""


async def ask(url: str, body: Any = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of one request."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        given.setdefault("content-type", "application/json")

    def call() -> tuple[int, str, dict[str, str]]:
        request = urllib.request.Request(url, data, given)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as reply:
                return reply.status, reply.read().decode(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    return await asyncio.to_thread(call)


async def samples(web: WebServer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, text, _ = await ask(web.metrics_url)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(v for (n, given), v in found.items() if n == name and wanted <= set(given))


async def opened(bench: Any, *, embedded: bool = True, **changes: Any) -> WebServer:
    settings = ServeSettings(port=0, **{"http_port": 0, "metrics_port": 0, **changes})
    return await serve_web(bench.service, settings, embedded=embedded)


def test_totals_grow_over_several_runs_and_match_each(bench):
    async def test(bench: Any) -> None:
        bench.worker(faults=Faults(failed_rows=frozenset({3, 5})))
        web = await opened(bench)
        exact = {"completed": 0, "failed": 0}
        before = await samples(web)
        try:
            for _ in range(2):
                status = await bench.finish(error_budget=0.1, lease_timeout_ms=20_000)
                assert status.error == ""
                counts = json.loads(status.summary_json)["counts"]["requests"]
                for name in exact:
                    exact[name] += counts[name]
                after = await samples(web)
                for name, count in exact.items():
                    assert total(after, "loadgen_requests_total", status=name) == count
                assert total(after, "loadgen_latency_seconds_count") == exact["completed"]
                issued = total(after, "loadgen_requests_issued_total")
                assert issued == exact["completed"] + exact["failed"]
                counters = [key for key in before if key[0].endswith(("_total", "_count"))]
                assert all(after[key] >= before[key] for key in counters)
                before = after
            assert total(after, "loadgen_runs_total") == 2
            carriers = [name for name, labels in after if "run_id" in dict(labels)]
            assert carriers == ["loadgen_run_info"]
        finally:
            await web.stop()

    bench(test)


def test_counters_stand_at_zero_before_the_first_answer(bench):
    async def test(bench: Any) -> None:
        bench.worker()
        web = await opened(bench)
        try:
            watching = asyncio.create_task(bench.finish(lease_timeout_ms=20_000))
            while bench.service.coordinator.conducted == ():
                await asyncio.sleep(0.01)
            (run,) = bench.service.coordinator.conducted
            while not run.sut_addresses:
                await asyncio.sleep(0.01)
            found = await samples(web)
            assert ("loadgen_requests_total", (
                ("kind", "performance"), ("status", "completed"), ("sut", run.sut_addresses[0])
            )) in found  # fmt: skip
            await watching
        finally:
            await web.stop()

    bench(test)


def test_a_scrape_after_the_end_ends_the_waiting(bench):
    async def test(bench: Any) -> None:
        web = await opened(bench)
        try:
            assert not await web.wait_for_scrape(0.05)
            waiting = asyncio.create_task(web.wait_for_scrape(DEADLINE_S))
            await asyncio.sleep(0)
            await samples(web)
            assert await waiting
        finally:
            await web.stop()

    bench(test)


def test_runs_are_started_stopped_and_read_over_the_page(bench):
    async def test(bench: Any) -> None:
        bench.worker()
        bench.service.tokens = TokenBook()
        web = await opened(bench, embedded=False)
        url = web.page_url
        more = (
            "scenario: concurrency\nconcurrency: 1\nmin_duration_ms: 60000\nlease_timeout_ms: 20000"
        )
        try:
            settings = {"sut": ["grpc://127.0.0.1:9"], "model": "fake"}
            status, text, _ = await ask(f"{url}api/runs", {"settings": settings, "yaml": more})
            assert status == 201, text
            run_id = json.loads(text)["run_id"]
            run = bench.service.coordinator.runs[run_id]
            while not (
                run.collector and run.collector.live and run.collector.live[0].all.completed
            ):
                await asyncio.sleep(0.02)
            assert (await ask(f"{url}runs/{run_id}/summary.json"))[0] == 404
            assert (await ask(f"{url}api/runs/{run_id}/stop", {}))[0] == 200
            while not bench.service.coordinator.runs[run_id].is_over:
                await asyncio.sleep(0.02)
            detail = json.loads((await ask(f"{url}api/runs/{run_id}"))[1])
            assert detail["outcome"] == "interrupted"
            assert detail["result"]["counts"]["completed"] > 0
            status, text, _ = await ask(f"{url}runs/{run_id}/summary.json")
            assert json.loads(text)["run_id"] == run_id
            assert (await ask(f"{url}runs/{run_id}/journal.jsonl"))[0] == 404
            assert (await ask(f"{url}runs/{run_id}/..%2F..%2Fdata"))[0] == 404
        finally:
            await web.stop()

    bench(test)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"settings": {"model": "m", "scenario": "sever"}}, "scenario"),
        ({"yaml": "a: [1"}, "not valid YAML at line"),
        ({"yaml": BOMB}, "aliases written out"),
        ({"yaml": "a: &a [*a]"}, "holds itself"),
        ({"yaml": "[" * 5_000}, "not valid YAML"),
        ({"yaml": "[" * 60 + "]" * 60}, "nested deeper"),
        ({"yaml": "model: 2026-01-01"}, "is a date"),
        ({"yaml": "model: !!set {a}"}, "is a set"),
        ({"yaml": "model: !!binary aGVsbG8="}, "is a bytes"),
        ({"yaml": "target_qps: .inf"}, "no finite number"),
        ({"yaml": "1: 2"}, "is no text"),
        ({"yaml": "target_qps: " + "9" * 5_000}, "cannot be read"),
        ({"yaml": "model: 2026-13-45"}, "cannot be read"),
        ({"yaml": "a: 1\n" * 10_000}, "longer than"),
        ({"yaml": "model: \ud800"}, "more settings"),
        ({"settings": {"model": "\ud800", "sut": ["grpc://\ud800:1"]}}, ""),
        ({"settings": {"\ud800": 1}}, ""),
        ({"settings": {"target_qps": float("inf")}}, ""),
        ({"settings": {"target_qps": float("nan")}}, ""),
        ({"yaml": "- 1"}, "names and values"),
        ([], "not a JSON object"),
    ],
)
def test_a_mistake_is_one_line_with_400(bench, body, words):
    async def test(bench: Any) -> None:
        bench.service.tokens = TokenBook()
        web = await opened(bench, embedded=False)
        try:
            status, text, _ = await ask(f"{web.page_url}api/runs", body)
            assert status == 400
            assert words in json.loads(text)["error"]
            assert "\n" not in json.loads(text)["error"]
        finally:
            await web.stop()

    bench(test)


def test_the_page_inside_a_run_starts_no_other(bench):
    async def test(bench: Any) -> None:
        web = await opened(bench)
        try:
            status, text, _ = await ask(f"{web.page_url}api/runs", {"settings": {}})
            assert (status, "loadgen serve" in text) == (400, True)
        finally:
            await web.stop()

    bench(test)


def test_a_service_with_a_token_asks_for_it_on_both_ports(bench):
    async def test(bench: Any) -> None:
        web = await opened(bench, embedded=False)
        bearer = {"authorization": f"Bearer {bench.service.token}"}
        try:
            assert (await ask(web.metrics_url))[0] == 401
            assert (await ask(web.metrics_url, **bearer))[0] == 200
            assert (await ask(f"{web.page_url}api/about"))[0] == 401
            status, _, headers = await ask(f"{web.page_url}login", {"token": bench.service.token})
            assert status == 200
            cookie = headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=strict" in cookie
            assert bench.service.token not in cookie
            session = cookie.split(";")[0]
            assert (await ask(f"{web.page_url}api/about", cookie=session))[0] == 200
        finally:
            await web.stop()

    bench(test)


def test_a_reader_is_told_everything_and_sent_home_at_the_end(bench):
    async def test(bench: Any) -> None:
        bench.worker()
        await bench.finish(lease_timeout_ms=20_000)
        web = await opened(bench)
        reading = asyncio.create_task(ask(f"{web.page_url}api/events"))
        while not web._page.pulse.watchers:
            await asyncio.sleep(0.01)
        await web.stop()
        status, text, headers = await reading
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/event-stream")
        first = json.loads(text.split("\n")[0].removeprefix("data: "))
        assert first["run"]["outcome"] == "valid" or first["run"]["result"] is not None
        assert text.endswith("event: end\ndata: {}\n\n")

    bench(test)


def test_an_unsafe_bind_and_a_taken_port_are_refused(bench):
    async def test(bench: Any) -> None:
        with pytest.raises(SettingsError, match="reachable from other hosts"):
            await opened(bench, host="0.0.0.0")
        web = await opened(bench)
        port = int(web.metrics_url.rsplit(":", 1)[1].split("/")[0])
        try:
            with pytest.raises(UserError, match=f"--metrics-port {port}: cannot listen"):
                await opened(bench, metrics_port=port)
        finally:
            await web.stop()

    bench(test)


def test_addresses_beyond_the_limit_are_added_up():
    sums = Sums()
    for number in range(SUTS_MAX + 5):
        live = LiveStats(10)
        live.by_sut[0] = live.all.__class__(completed=1)
        sums._add_series(live, [f"grpc://host:{number}"])
    assert len(sums.by_sut) == SUTS_MAX + 1
    assert sums.by_sut[OTHER_SUT, "performance"].completed == 5


def test_bounds_are_edges_of_the_histogram():
    from numpy import array

    from loadgen_service.core.stats.histogram import bucket_indexes

    bounds = array(BOUNDS_NS)
    assert (bucket_indexes(bounds) + 1 == bucket_indexes(bounds + 1)).all()
    assert list(bounds) == sorted(set(BOUNDS_NS))


RAW_HEADS = [
    b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /api/runs/%ed%a0%80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: loadgen_session=\xff\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
]


@pytest.mark.parametrize("head", RAW_HEADS)
def test_no_head_brings_a_traceback(bench, caplog, head):
    async def test(bench: Any) -> None:
        bench.service.tokens = TokenBook()
        web = await opened(bench, embedded=False)
        try:
            port = int(web.page_url.rpartition(":")[2].strip("/"))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            answer = await asyncio.wait_for(reader.readline(), DEADLINE_S)
            assert b" 500 " not in answer
            writer.close()
            assert (await ask(f"{web.page_url}healthz"))[0] == 200
        finally:
            await web.stop()

    bench(test)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_token_of_half_a_character_is_only_wrong(bench):
    async def test(bench: Any) -> None:
        bench.service.tokens = TokenBook.of_secret("0123456789abcdef")
        web = await opened(bench, embedded=False)
        try:
            status, text, _ = await ask(f"{web.page_url}login", {"token": "\ud800"})
            assert (status, "not this service's token" in text) == (401, True)
        finally:
            await web.stop()

    bench(test)
