"""Sampled queries as traces: our spans and the server's own, joined in one collector."""

from __future__ import annotations

import asyncio
import json
import socket

import pyarrow.parquet as pq
import pytest
from otlp_receiver import attributes_of, otlp_receiver
from sut_process import sut_server

from loadgen_service import Settings, run
from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.tracing.spans import TraceIds

CLIENT, SERVER, INTERNAL = 3, 2, 1
QUERIES = 60


def settings_of(sut, model, endpoint, **more):
    base = {"scenario": "server", "target_qps": 200, "min_duration_ms": 0, "total_sample_count": 8}
    base |= {"min_query_count": QUERIES, "max_query_count": QUERIES, "trace_sample_rate": 0.3}
    base |= {"issue_delay_budget_ms": 1000, "target_latency_ms": 5000}
    return Settings(sut=[sut], model=model, otlp_endpoint=endpoint, **base | more)


def run_of(settings, folder):
    return asyncio.run(run(settings, folder))


def sampled_queries(settings, report):
    counts = SampleCounts(8, 8)
    plan = plan_series(settings, counts, series_specs(settings, counts)[0])
    ids = TraceIds(report.summary.run_id, plan, settings.trace_sample_rate)
    queries = report.records(["query_index"]).column(0).unique().to_numpy()
    traced = queries[ids.is_sampled(queries)].tolist()
    return {query: ids.trace_id(query) for query in traced}


def by_trace(spans):
    found: dict[int, list] = {}
    for span in spans:
        found.setdefault(int.from_bytes(span.trace_id, "big"), []).append(span)
    return found


@pytest.mark.parametrize(
    ("way", "adapter", "collector"),
    [
        ("grpc", "wire", "http"),
        ("grpc", "grpc_aio", "grpc"),
        ("stream", "wire", "grpc"),
        ("stream", "grpc_aio", "http"),
        ("http", "wire", "http"),
        ("openai", "wire", "grpc"),
    ],
)
def test_the_server_s_span_is_the_child_of_our_call_s(tmp_path, way, adapter, collector):
    model = "synthetic-stream" if way in ("stream", "openai") else "synthetic"
    ports = ["--http-port", "0", "--openai-port", "0"]
    with otlp_receiver() as received:
        endpoint = getattr(received, collector)
        flags = ["--token-count", "constant:3", "--otlp-endpoint", endpoint, *ports]
        with sut_server("--model", model, *flags) as server:
            sut = address_of(server, way)
            settings = settings_of(sut, model, endpoint, adapter=adapter)
            report = run_of(settings, tmp_path)
            assert server.end()[0] == 0
        ours, theirs = by_trace(received.spans["loadgen"]), by_trace(received.spans["sut-server"])
    wanted = sampled_queries(settings, report)
    assert 0 < len(wanted) < QUERIES
    assert set(ours) == set(theirs) == set(wanted.values())
    for trace, spans in ours.items():
        root = next(span for span in spans if not span.parent_span_id)
        (call,) = [span for span in spans if span.kind == CLIENT]
        (served,) = theirs[trace]
        assert call.parent_span_id == root.span_id
        assert (served.kind, served.parent_span_id) == (SERVER, call.span_id)
        assert root.start_time_unix_nano <= call.start_time_unix_nano
        assert call.end_time_unix_nano == root.end_time_unix_nano
    assert report.summary.counts.queries.completed == QUERIES
    assert any(f"traces: {len(wanted)} queries sampled" in note for note in report.summary.notes)


def address_of(server, way):
    if way in ("grpc", "stream"):
        return f"grpc://{server.host_port}"
    lines = [server.process.stdout.readline() for _ in range(2)]  # HTTP's, then OpenAI's
    ready = lines[0 if way == "http" else 1].split()[-1]
    return f"http://{ready}" if way == "http" else f"openai://{ready}"


def test_spans_say_what_the_records_say(tmp_path):
    with otlp_receiver() as received, sut_server("--model", "synthetic") as server:
        settings = settings_of(f"grpc://{server.host_port}", "synthetic", received.http,
                               trace_sample_rate=1.0)  # fmt: skip
        report = run_of(settings, tmp_path)
        spans = received.spans["loadgen"]
    rows = {row["query_index"]: row for row in report.records().to_pylist()}
    roots = [span for span in spans if not span.parent_span_id]
    assert len(roots) == QUERIES
    for root in roots:
        said = attributes_of(root)
        row = rows[said["loadgen.query_index"]]
        took = root.end_time_unix_nano - root.start_time_unix_nano
        assert took == row["completed_ns"] - row["scheduled_ns"]
        assert said["loadgen.sample_index"] == row["sample_index"]
    call = next(span for span in spans if span.kind == CLIENT)
    assert call.name == "inference.GRPCInferenceService/ModelInfer"
    said = attributes_of(call)
    assert said["rpc.system"] == "grpc"
    assert said["rpc.grpc.status_code"] == 0
    assert (said["server.address"], said["server.port"]) == ("127.0.0.1", server.port)
    delays = [span for span in spans if span.name == "issue delay"]
    assert delays
    assert all(span.kind == INTERNAL for span in delays)


def test_failed_queries_have_spans_with_their_error(tmp_path):
    with otlp_receiver() as received:
        flags = ["--model", "synthetic", "--otlp-endpoint", received.http, "--error-rate", "0.5"]
        with sut_server(*flags) as server:
            settings = settings_of(f"grpc://{server.host_port}", "synthetic", received.http,
                                   trace_sample_rate=1.0)  # fmt: skip
            report = run_of(settings, tmp_path)
            server.end()
        calls = [span for span in received.spans["loadgen"] if span.kind == CLIENT]
        served = received.spans["sut-server"]
    failed = report.summary.counts.queries.failed
    assert 0 < failed < QUERIES
    for spans in (calls, served):
        bad = [span for span in spans if span.status.code == 2]
        assert len(bad) == failed
        assert {attributes_of(span)["error.type"] for span in bad} == {"INTERNAL"}


def test_a_collector_that_is_not_there_is_a_line_in_the_summary(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        with sut_server("--model", "null") as server:
            settings = settings_of(f"grpc://{server.host_port}", "null", endpoint)
            report = run_of(settings, tmp_path)
    assert report.summary.state == "DONE"
    assert report.summary.counts.queries.completed == QUERIES
    (note,) = [note for note in report.summary.notes if note.startswith("traces: ")]
    assert "0 of" in note
    assert "the rest was not" in note


def test_a_run_without_tracing_has_no_word_of_it(tmp_path):
    with otlp_receiver() as received:
        flags = ["--model", "synthetic", "--otlp-endpoint", received.http]
        with sut_server(*flags) as server:
            settings = settings_of(f"grpc://{server.host_port}", "synthetic", "",
                                   trace_sample_rate=0)  # fmt: skip
            report = run_of(settings, tmp_path)
            server.end()
        assert received.spans == {}
    assert not any("traces" in note for note in report.summary.notes)
    assert pq.read_metadata(report.directory / "records.parquet").num_rows == QUERIES
    assert json.loads((report.directory / "summary.json").read_text())["state"] == "DONE"
