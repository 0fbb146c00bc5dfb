"""Clients that nobody here wrote against the real ``sut-server``, in ways that once ended badly.

perf_analyzer, curl, tritonclient, openai and grpcio.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from sut_process import SutProcess, next_line, sut_server
from tritonclient.grpc import service_pb2

DEADLINE_S = 60.0
ROOT = Path(__file__).parent.parent.parent
BENCH = Path(os.environ.get("LOADGEN_BENCH_VENV") or ROOT / ".venv-bench")
PERF_ANALYZER = BENCH / "bin" / "perf_analyzer"
STABLE = ("-p", "400", "-s", "1000")
"""Windows that differ by up to ten times are a matter of the machine, and no failure here."""


@dataclass
class Served:
    grpc: str
    http: str
    openai: str


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    flags = ["--token-count", "constant:4", "--first-token-time", "constant:2"]
    flags += ["--token-time", "constant:1", "--shared-memory", "--compression", "gzip"]
    for model in ("digits", "synthetic", "synthetic-stream", "accumulator"):
        flags += ["--model", model]
    with sut_server(*flags, "--http-port", "0", "--openai-port", "0") as server:
        http = next_line(server, r"sut-server: HTTP ready on (\S+)\n")
        yield Served(server.host_port, http, next_line(server, r".*OpenAI ready on (\S+)/v1\n"))


def analyzed(address: str, protocol: str, model: str, *flags: str) -> tuple[int, str]:
    library = next(BENCH.glob("lib/*/site-packages/nvidia/cuda_runtime/lib"))
    command = [str(PERF_ANALYZER), "-m", model, "-u", address, "-i", protocol, *flags]
    done = subprocess.run(
        [*command, *STABLE, "--concurrency-range", "2"],
        env={"LD_LIBRARY_PATH": str(library)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return done.returncode, done.stdout + done.stderr


SHARED = ("--shared-memory", "system", "--output-shared-memory-size", "4096")


@pytest.mark.skipif(not PERF_ANALYZER.exists(), reason="needs perf_analyzer: make bench-setup")
@pytest.mark.parametrize(
    ("protocol", "model", "flags"),
    [
        ("grpc", "digits", ("-b", "4")),
        ("http", "digits", ("-b", "4", "--async")),
        ("grpc", "digits", ("-b", "2", *SHARED)),
        ("http", "digits", ("-b", "2", *SHARED)),
        ("grpc", "synthetic", ("--async", "--streaming")),
        ("grpc", "synthetic-stream", ("--async", "--streaming")),
        ("grpc", "accumulator", ("--async", "--streaming")),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, tuple) else one,
)
def test_perf_analyzer_ends_cleanly(
    served: Served, protocol: str, model: str, flags: tuple[str, ...]
) -> None:
    address = served.grpc if protocol == "grpc" else served.http
    code, said = analyzed(address, protocol, model, *flags)
    assert code == 0, said
    counted = re.findall(r"Successful request count: (\d+)", said)
    assert counted, said
    assert int(counted[-1]) > 0
    assert "terminate called" not in said
    assert "Unable to unregister" not in said


def test_the_counts_of_a_request_agree(served: Served) -> None:
    client = triton.InferenceServerClient(served.grpc)
    tensor = triton.InferInput("input", [2, 64], "FP32")
    tensor.set_data_from_numpy(np.zeros((2, 64), dtype=np.float32))
    client.infer("digits", [tensor], client_timeout=DEADLINE_S)
    (stats,) = client.get_inference_statistics("digits").model_stats
    client.close()
    for spans in (stats.inference_stats, *stats.batch_stats):
        counts = {spans.compute_input.count, spans.compute_infer.count, spans.compute_output.count}
        assert len(counts) == 1
        assert counts != {0}


def test_placed_outputs_keep_their_position_among_the_contents(served: Served) -> None:
    region = shm.create_shared_memory_region("placed", "/loadgen_test_placed", 4096)
    client = triton.InferenceServerClient(served.grpc)
    try:
        client.register_system_shared_memory("placed", "/loadgen_test_placed", 4096)
        tensor = triton.InferInput("input", [1, 64], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 64), dtype=np.float32))
        output = triton.InferRequestedOutput("logits")
        output.set_shared_memory("placed", 40)
        result = client.infer("digits", [tensor], outputs=[output], client_timeout=DEADLINE_S)
        assert list(result.get_response().raw_output_contents) == [b""]
        plain = client.infer("digits", [tensor], client_timeout=DEADLINE_S).as_numpy("logits")
        placed = shm.get_contents_as_numpy(region, np.float32, [1, 10])
        np.testing.assert_array_equal(placed, plain)
    finally:
        client.unregister_system_shared_memory("placed")
        client.close()
        shm.destroy_shared_memory_region(region)


@pytest.mark.parametrize(("model", "count"), [("synthetic-stream", 4), ("synthetic", 1)])
@pytest.mark.parametrize("is_asked", [False, True])
def test_a_stream_says_which_answer_is_the_last_if_it_is_asked(
    served: Served, model: str, count: int, is_asked: bool
) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        request = service_pb2.ModelInferRequest(model_name=model, id="q")
        request.inputs.add(name="input", datatype="FP32", shape=[1, 16])
        request.raw_input_contents.append(bytes(64))
        if is_asked:
            request.parameters["triton_enable_empty_final_response"].bool_param = True
        failing = service_pb2.ModelInferRequest(model_name="nope", id="bad")
        failing.parameters.MergeFrom(request.parameters)
        call = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelStreamInferResponse.FromString,
        )
        answers = list(call(iter([request, failing]), timeout=DEADLINE_S))
    told = {"q": [], "bad": []}
    for one in answers:
        parameters = one.infer_response.parameters
        final = parameters.get("triton_final_response")
        told[one.infer_response.id].append(None if final is None else final.bool_param)
    assert told["q"] == ([False] * (count - 1) + [True] if is_asked else [None] * count)
    assert told["bad"] == ([True] if is_asked else [None])


def test_a_stream_of_an_unknown_method_ends_at_once(served: Served) -> None:
    """Server reflection, as ``grpcurl list`` asks: the client waits before it ends its side."""
    with grpc.insecure_channel(served.grpc) as channel:
        call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        never = iter(lambda: __import__("time").sleep(DEADLINE_S), None)
        with pytest.raises(grpc.RpcError) as raised:
            next(call(never, timeout=DEADLINE_S))
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "no method /grpc.reflection" in raised.value.details()


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "--silent", "--show-error", "--max-time", str(DEADLINE_S), *arguments]
    return subprocess.run(command, capture_output=True, timeout=DEADLINE_S)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_speaks_every_http_1(served: Served, tmp_path: Path) -> None:
    url = f"http://{served.http}/v2"
    for flags in ([], ["--http1.0"], ["--http2"], ["--request-target", url]):
        done = curl(*flags, url, url)  # twice on one connection, where it is kept
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b'"sut-server"') == 2
    body = tmp_path / "request.json"
    zeros = {"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [0] * 16}
    body.write_text(json.dumps({"inputs": [zeros], "id": "x" * 1_100_000}))
    done = curl(
        "-H", "Expect: 100-continue", "-v", "--data-binary", f"@{body}",
        f"{url}/models/synthetic/infer",
    )  # fmt: skip
    assert b"100 Continue" in done.stderr
    assert json.loads(done.stdout)["outputs"][0]["data"] == [0.0]
    done = curl(
        "--http1.0", "--no-buffer", "-d", _completion(), f"http://{served.openai}/v1/completions"
    )
    assert done.stdout.endswith(b"data: [DONE]\n\n")
    done = curl("--compressed", "-D", "-", f"{url}/models/stats")
    head, _, stats = done.stdout.partition(b"\r\n\r\n")
    assert b"gzip" not in head.lower()  # what describes is never compressed
    assert len(json.loads(stats)["model_stats"]) == 4
    done = curl(
        "--compressed", "-H", "Content-Encoding: gzip", "-d", "junk", f"{url}/models/x/infer"
    )
    assert isinstance(json.loads(done.stdout)["error"], str)  # KServe's shape


def _completion(**more: object) -> str:
    return json.dumps({"model": "synthetic-stream", "prompt": "a b", "stream": True, **more})


def test_extensions_are_those_that_are_offered(served: Served) -> None:
    for address, offered in ((served.http, True),):
        with urllib.request.urlopen(f"http://{address}/v2", timeout=DEADLINE_S) as answer:
            extensions = json.load(answer)["extensions"]
        assert ("system_shared_memory" in extensions) == offered
    with urllib.request.urlopen(
        f"http://{served.http}/v2/systemsharedmemory/status", timeout=DEADLINE_S
    ) as answer:
        assert json.load(answer) == []


@pytest.mark.parametrize(
    ("prompt", "tokens", "choices"),
    [("a b c", 3, 1), (["a b", "c"], 3, 2), ([5, 6, 7, 8], 4, 1), ([[1, 2], [3]], 3, 2)],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_openais_own_client_asks_in_every_form(
    served: Served, prompt: object, tokens: int, choices: int, is_streamed: bool
) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"http://{served.openai}/v1", api_key="any")
    assert client.models.retrieve("synthetic-stream").id == "synthetic-stream"
    with pytest.raises(openai.NotFoundError, match="no model 'nope' here"):
        client.models.retrieve("nope")
    asked = {"model": "synthetic-stream", "prompt": prompt, "max_tokens": 2}
    if not is_streamed:
        found = client.completions.create(**asked)
        texts = {one.index: one.text for one in found.choices}
        usage = found.usage
    else:
        texts, usage = {}, None
        stream = client.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        for chunk in stream:
            usage = chunk.usage or usage
            for one in chunk.choices:
                texts[one.index] = texts.get(one.index, "") + one.text
    assert texts == dict.fromkeys(range(choices), "0 1 ")
    assert (usage.prompt_tokens, usage.completion_tokens) == (tokens, 2 * choices)


def test_a_server_without_shared_memory_does_not_offer_it() -> None:
    with sut_server("--model", "null", "--http-port", "0") as server:
        http = next_line(server, r"sut-server: HTTP ready on (\S+)\n")
        with urllib.request.urlopen(f"http://{http}/v2", timeout=DEADLINE_S) as answer:
            assert "system_shared_memory" not in json.load(answer)["extensions"]
        assert isinstance(server, SutProcess)
