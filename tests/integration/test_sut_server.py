"""The real ``sut-server`` process, asked by tritonclient and grpc.aio."""

from __future__ import annotations

import asyncio
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from loadgen_proto import sut_pb2, sut_pb2_grpc
from sut_process import sut_server
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

DEADLINE_S = 20.0


def infer_input(rows: int = 1, elements: int = 16, name: str = "input") -> triton.InferInput:
    tensor = triton.InferInput(name, [rows, elements], "FP32")
    tensor.set_data_from_numpy(np.zeros((rows, elements), dtype=np.float32))
    return tensor


def test_tritonclient_drives_a_synthetic_model() -> None:
    with sut_server("--model", "synthetic", "--service-time", "constant:2") as server:
        client = triton.InferenceServerClient(server.host_port)
        assert client.is_server_live(client_timeout=DEADLINE_S)
        assert client.is_server_ready()
        assert client.is_model_ready("synthetic")
        assert client.get_server_metadata().name == "sut-server"
        metadata = client.get_model_metadata("synthetic")
        assert list(metadata.inputs[0].shape) == [-1, 16]
        assert client.get_model_config("synthetic").config.max_batch_size == 8
        result = client.infer("synthetic", [infer_input(3)], request_id="r7")
        assert result.as_numpy("output").shape == (3, 1)
        answer = result.get_response()
        assert answer.id == "r7"
        assert answer.parameters["compute_ns"].int64_param >= 2_000_000
        stats = client.get_inference_statistics("synthetic").model_stats[0]
        assert (stats.inference_count, stats.execution_count) == (3, 1)
        client.close()


def test_tritonclient_reads_every_refusal() -> None:
    with sut_server("--model", "synthetic", "--max-batch", "4") as server:
        client = triton.InferenceServerClient(server.host_port)
        for model, tensor, status, text in (
            ("nope", infer_input(), "NOT_FOUND", "no model 'nope' here; there is synthetic"),
            ("synthetic", infer_input(elements=7), "INVALID_ARGUMENT", "shape [-1, 16] wanted"),
            ("synthetic", infer_input(rows=5), "INVALID_ARGUMENT", "takes 1 to 4 samples"),
            ("synthetic", infer_input(name="x"), "INVALID_ARGUMENT", "takes the inputs ['input']"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                client.infer(model, [tensor], client_timeout=DEADLINE_S)
            assert caught.value.status() == f"StatusCode.{status}"
            assert text in caught.value.message()
        with pytest.raises(InferenceServerException, match="has no method"):
            client.get_trace_settings()
        client.close()


def test_a_null_server_answers_many_calls_at_once_over_grpc_aio() -> None:
    async def main(host_port: str) -> None:
        async with grpc.aio.insecure_channel(host_port) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelInferRequest(model_name="null")
            calls = [stub.ModelInfer(request, timeout=DEADLINE_S) for _ in range(500)]
            answers = await asyncio.gather(*calls)
            assert all(answer.raw_output_contents == [bytes(4)] for answer in answers)
            stats_request = service_pb2.ModelStatisticsRequest(name="null")
            stats = await stub.ModelStatistics(stats_request, timeout=DEADLINE_S)
            assert stats.model_stats[0].inference_count == 500

    with sut_server("--model", "null") as server:
        asyncio.run(main(server.host_port))


def test_a_null_server_repeats_a_requests_id_and_counts_it_like_any_model() -> None:
    with sut_server("--model", "null") as sut:
        client = triton.InferenceServerClient(sut.host_port)
        tensor = triton.InferInput("input", [1, 16], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 16), dtype=np.float32))
        ids = [
            client.infer("null", [tensor], request_id=wanted).get_response().id
            for wanted in ("", "7", "a longer one")
        ]
        counted = client.get_inference_statistics("null").model_stats[0]
        client.close()
    assert ids == ["", "7", "a longer one"]
    assert counted.inference_stats.queue.count == 3
    assert counted.execution_count == 3


def test_the_sut_services_calls_work_over_grpc_aio() -> None:
    async def main(host_port: str) -> None:
        async with grpc.aio.insecure_channel(host_port) as channel:
            infer = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            sut = sut_pb2_grpc.SystemUnderTestStub(channel)
            name = await sut.Name(sut_pb2.NameRequest(), timeout=DEADLINE_S)
            assert name.name == "sut-server synthetic"
            hint = sut_pb2.SamplesRequest(model="synthetic", sample_index=[1, 2])
            await sut.LoadSamples(hint, timeout=DEADLINE_S)
            before_ns = time.monotonic_ns()
            clock = await sut.Clock(sut_pb2.ClockRequest(sent_ns=before_ns), timeout=DEADLINE_S)
            # One machine, one monotonic clock: the three instants are in order.
            assert before_ns <= clock.received_ns <= clock.replied_ns <= time.monotonic_ns()
            request = _raw_request()
            calls = [infer.ModelInfer(request, timeout=DEADLINE_S) for _ in range(10)]
            done = [asyncio.ensure_future(_wait(call)) for call in calls]
            while (await _statistics(infer)).inference_stats.success.count == 0:
                await asyncio.sleep(0.005)
            reply = await sut.Flush(sut_pb2.FlushRequest(model="synthetic"), timeout=DEADLINE_S)
            assert reply.answered_count == 10
            await asyncio.gather(*done)

    async def _wait(call: grpc.aio.UnaryUnaryCall) -> None:
        await call

    async def _statistics(stub: service_pb2_grpc.GRPCInferenceServiceStub) -> object:
        request = service_pb2.ModelStatisticsRequest(name="synthetic")
        return (await stub.ModelStatistics(request, timeout=DEADLINE_S)).model_stats[0]

    flags = ("--model", "synthetic", "--service-time", "constant:30", "--concurrency-limit", "2")
    with sut_server(*flags) as server:
        asyncio.run(main(server.host_port))


def _raw_request() -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="synthetic")
    request.inputs.add(name="input", datatype="FP32", shape=[1, 16])
    request.raw_input_contents.append(bytes(64))
    return request


def test_deadlines_end_dropped_calls_and_the_server_counts_them() -> None:
    async def main(host_port: str) -> None:
        async with grpc.aio.insecure_channel(host_port) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(_raw_request(), timeout=0.3)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            live = await stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=DEADLINE_S)
            assert live.live
            request = service_pb2.ModelStatisticsRequest(name="synthetic")
            (stats,) = (await stub.ModelStatistics(request, timeout=DEADLINE_S)).model_stats
            assert stats.inference_stats.fail.count == 1

    with sut_server("--model", "synthetic", "--drop-rate", "1") as server:
        asyncio.run(main(server.host_port))


def test_the_service_log_holds_the_times_that_were_served(tmp_path: Path) -> None:
    log = tmp_path / "served.npy"
    flags = ("--service-time", "lognormal:3:0.4", "--seed", "5", "--service-log", str(log))
    with sut_server("--model", "synthetic", *flags) as server:
        client = triton.InferenceServerClient(server.host_port)
        measured_ns = []
        for _ in range(60):
            start_ns = time.perf_counter_ns()
            client.infer("synthetic", [infer_input()])
            measured_ns.append(time.perf_counter_ns() - start_ns)
        client.close()
        code, _ = server.end()
        assert code == 0
    served_ns = np.load(log)
    assert served_ns.dtype == np.int64
    assert len(served_ns) == 60
    # One caller, one call at a time: what it measured holds what was served, call by call.
    assert all(served <= seen for served, seen in zip(served_ns, measured_ns, strict=True))
    assert statistics.median(served_ns) >= 2_000_000


def test_sigterm_lets_open_calls_end() -> None:
    with sut_server("--model", "synthetic", "--service-time", "constant:400") as server:
        client = triton.InferenceServerClient(server.host_port)
        client.is_server_live()
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(client.infer, "synthetic", [infer_input()])
            watcher = triton.InferenceServerClient(server.host_port)
            while not watcher.get_inference_statistics("synthetic").model_stats[0].last_inference:
                time.sleep(0.005)
            watcher.close()
            code, said = server.end()
            assert answer.result(DEADLINE_S).as_numpy("output").shape == (1, 1)
        assert (code, said) == (0, "")
        client.close()


def test_a_users_class_and_several_models_in_one_server(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Twice:\n"
        "    name = 'twice'\n"
        "    inputs = [('x', 'FP32', [-1, 2])]\n"
        "    outputs = [('y', 'FP32', [-1, 2])]\n"
        "    def load(self): pass\n"
        "    def infer(self, batch): return {'y': batch['x'] * batch['x'].dtype.type(2)}\n"
    )
    with sut_server("--model", "python:mine:Twice", "--model", "null", cwd=tmp_path) as server:
        client = triton.InferenceServerClient(server.host_port)
        tensor = triton.InferInput("x", [2, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 2], [3, 4]], dtype=np.float32))
        assert client.infer("twice", [tensor]).as_numpy("y").tolist() == [[2, 4], [6, 8]]
        assert client.infer("null", [infer_input()]).as_numpy("output").tolist() == [[0]]
        client.close()


def test_requests_that_come_together_run_together() -> None:
    pytest.importorskip("onnxruntime")
    flags = ("--max-batch", "8", "--max-queue-delay-us", "50000", "--metrics-port", "0")
    with sut_server("--model", "digits", *flags) as server:
        client = triton.InferenceServerClient(server.host_port)
        metadata = client.get_model_metadata("digits")
        elements = metadata.inputs[0].shape[1]
        with ThreadPoolExecutor(8) as threads:
            tensors = [infer_input(elements=elements, name="input") for _ in range(8)]
            answers = list(threads.map(lambda t: client.infer("digits", [t]), tensors))
        outputs = [answer.as_numpy(metadata.outputs[0].name) for answer in answers]
        assert all(np.allclose(output, outputs[0], atol=1e-5) for output in outputs)
        stats = client.get_inference_statistics("digits").model_stats[0]
        assert stats.inference_count == 8
        assert stats.execution_count < 8
        client.close()


def test_metrics_are_served_beside_the_model() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with sut_server("--model", "synthetic", "--metrics-port", str(port)) as server:
        client = triton.InferenceServerClient(server.host_port)
        client.infer("synthetic", [infer_input()])
        client.close()
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            text = answer.read().decode()
        assert 'sut_server_requests_total{model="synthetic",status="ok"} 1.0' in text


def test_a_taken_port_is_one_line_and_exit_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "sut_server", "--model", "null", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"--port {port}: cannot listen on 127.0.0.1" in done.stderr


def test_a_stopped_server_holds_its_answers_back() -> None:
    """SIGSTOP is a stall from outside: nothing fails, answers come after SIGCONT."""
    with sut_server("--model", "null") as server:
        client = triton.InferenceServerClient(server.host_port)
        client.infer("null", [infer_input()])
        server.process.send_signal(signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(1) as threads:
                answer = threads.submit(client.infer, "null", [infer_input()])
                time.sleep(0.2)
                assert not answer.done()
                server.process.send_signal(signal.SIGCONT)
                assert answer.result(DEADLINE_S) is not None
        finally:
            server.process.send_signal(signal.SIGCONT)
        client.close()
