"""KServe v2 servers, over gRPC and over HTTP: the same six questions to each of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
import pytest
from kserve_servers import SERVERS, onnx_digits
from product_runs import Run
from server_launch import Served
from server_runs import counts_of, run, summary_of, unmet

from loadgen_service.qsl.logged_bytes import answer_bytes
from loadgen_service.qsl.sources.arrays import open_digits

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

UNTOLD = frozenset({"kserve"})
"""Their metadata lists no tensors, so a user has to."""

SHAPE = ("--shape", "input:FP32:-1,64")
OVERLOAD_QPS = 60
"""Three times what a model of 50 ms can do."""

NO_BINARY = ("mlserver", "http")
"""Its REST takes tensors as JSON only, and answers 500 to others."""

ROWS = [(server, scheme) for server in SERVERS for scheme in ("grpc", "http")]


@pytest.fixture(scope="module", params=SERVERS, ids=str)
def server(request, tmp_path_factory) -> Iterator[tuple[str, Served]]:
    """A server's name, and the server."""
    name = request.param
    with SERVERS[name](tmp_path_factory.mktemp(name)) as served:
        yield name, served


@pytest.fixture(params=["grpc", "http"])
def target(request, server) -> list[str]:
    """The flags that aim a run at the server."""
    name, served = server
    return aim(name, served, request.param)


def aim(name: str, served: Served, scheme: str, model: str = "digits") -> list[str]:
    told = () if name not in UNTOLD else SHAPE
    spoken = ("--http-tensors", "json") if (name, scheme) == NO_BINARY else ()
    return ["--sut", f"{scheme}://{served.at[scheme]}", "--model", model, *told, *spoken]


@pytest.fixture(scope="module")
def direct() -> tuple[np.ndarray, np.ndarray]:
    """Logits of the model run by itself over every sample, and the labels."""
    import onnxruntime

    from loadgen_service.qsl.tensors import TensorSpec

    data = open_digits((TensorSpec("input", "FP32", (64,)),))
    pixels = np.stack(
        [np.frombuffer(data.sample(i)[0], np.float32) for i in range(len(data.labels))]
    )
    session = onnxruntime.InferenceSession(str(onnx_digits()))
    return session.run(["logits"], {"input": pixels})[0], data.labels


def test_accuracy_is_that_of_the_model_run_directly(target, direct, tmp_path):
    logits, labels = direct
    done = run(tmp_path, *target, "--dataset", "digits", "--mode", "accuracy",
               "--scenario", "single_stream")  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = summary_of(tmp_path)
    assert summary["accuracy"]["top1"] == np.mean(logits.argmax(1) == labels)
    responses = pq.read_table(tmp_path / "responses.parquet").to_pydict()
    records = pq.read_table(tmp_path / "records.parquet").to_pydict()
    sample_of = dict(zip(records["request_index"], records["sample_index"], strict=True))
    assert len(responses["response"]) == len(labels)
    for row, answer in zip(responses["request_index"], responses["response"], strict=True):
        got = np.frombuffer(answer_bytes(answer), np.float32)
        np.testing.assert_allclose(got, logits[sample_of[row]], atol=1e-4)


def test_a_server_run_has_closed_accounts(target, tmp_path):
    done = run(
        tmp_path,
        *(*target, "--dataset", "digits", "--scenario", "server", "--target-qps", "100"),
        *("--min-duration-ms", "3000", "--target-latency-ms", "500"),
        *("--target-latency-percentile", "90", "--issue-delay-budget-ms", "1000"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    counts = counts_of(tmp_path)
    assert counts["completed"] == counts["planned"] > 200
    summary = summary_of(tmp_path)
    print(f"\n{summary['suts'][0]['name']} {summary['suts'][0]['address']}: "
          f"p50 {summary['latency_ns']['p50'] / 1e6:.2f} ms, "
          f"p99 {summary['latency_ns']['p99'] / 1e6:.2f} ms, "
          f"accounts {counts}")  # fmt: skip


def test_an_unknown_model_is_one_line(server, target, tmp_path):
    flags = ["nope" if word == "digits" else word for word in target]
    done = run(tmp_path, *flags, "--dataset", "digits")
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert "nope" in line
    assert "--model" in line


def test_a_wrong_shape_is_named(server, target, tmp_path):
    np.savez(tmp_path / "wrong.npz", input=np.zeros((20, 32), np.float32))
    flags = ["input:FP32:-1,32" if word == SHAPE[1] else word for word in target]
    done = run(tmp_path / "out", *flags, "--dataset", str(tmp_path / "wrong.npz"),
               "--scenario", "single_stream", "--min-duration-ms", "500",
               "--min-query-count", "10")  # fmt: skip
    assert "Traceback" not in done.stderr
    if server[0] not in UNTOLD:
        assert done.returncode == 2, done.stdout
        (line,) = done.stderr.strip().splitlines()
        assert "64" in line
        assert "32" in line
        return
    # nobody knew before the server did: every request is a row that failed, with its words
    assert done.returncode == 1, done.stderr
    counts = counts_of(tmp_path / "out")
    assert counts["failed"] == counts["issued"] > 0
    assert summary_of(tmp_path / "out")["errors"][0]["message"]


def test_an_overloaded_server_is_invalid_by_its_latency(server, target, tmp_path):
    flags = ["digits-slow" if word == "digits" else word for word in target]
    done = run(
        tmp_path,
        *(*flags, "--dataset", "digits", "--scenario", "server"),
        *("--target-qps", str(OVERLOAD_QPS), "--min-duration-ms", "3000"),
        *("--target-latency-ms", "200", "--issue-delay-budget-ms", "1000"),
        *("--timeout-ms", "20000"),
    )
    assert done.returncode == 1, done.stderr + done.stdout
    counts = counts_of(tmp_path)
    assert counts["issued"] == counts["planned"] > 100
    assert "latency" in unmet(tmp_path)
    assert "accounting" not in unmet(tmp_path)


def test_rest_without_binary_tensors_is_told(server, tmp_path):
    name, served = server
    if name != NO_BINARY[0]:
        pytest.skip("takes binary tensors")
    done = run(tmp_path, *aim(name, served, "http"), "--http-tensors", "binary", "--dataset",
               "digits", "--scenario", "single_stream", "--min-duration-ms", "200")  # fmt: skip
    assert done.returncode == 1, done.stderr
    counts = counts_of(tmp_path)
    assert counts["failed"] == counts["issued"] > 0
    summary = summary_of(tmp_path)
    assert any("binary_tensor_data among the extensions" in note for note in summary["notes"])
    assert any("--http-tensors json" in note for note in summary["notes"])
    assert "HTTP 500" in summary["errors"][0]["message"]


def test_a_growing_queue_ends_the_run_where_it_is_bounded(target, tmp_path):
    flags = ["digits-slow" if word == "digits" else word for word in target]
    done = run(
        tmp_path,
        *(*flags, "--dataset", "digits", "--scenario", "server"),
        *("--target-qps", str(OVERLOAD_QPS), "--min-duration-ms", "20000"),
        *("--target-latency-ms", "5000", "--issue-delay-budget-ms", "1000"),
        *("--max-async-queries", "30"),
    )
    assert done.returncode == 1, done.stderr + done.stdout
    assert counts_of(tmp_path)["not_issued"] > 0
    ended = unmet(tmp_path)["ended_early"]
    assert ended["measured"] == "max_async_queries"
    assert "the SUT fell behind" in ended["advice"]


@pytest.mark.parametrize(("name", "scheme"), ROWS)
def test_a_server_killed_in_the_middle_ends_the_run(name, scheme, tmp_path):
    with SERVERS[name](tmp_path) as served:
        going = Run(
            tmp_path / "out",
            *(*aim(name, served, scheme), "--dataset", "digits", "--scenario", "server"),
            *("--target-qps", "100", "--min-duration-ms", "4000", "--timeout-ms", "2000"),
            *("--target-latency-ms", "500"),
        )
        going.wait_for("issuing")
        served.kill()
        finished = going.finish()
    assert finished.exit_code == 1, finished.said
    assert "Traceback" not in finished.said
    counts = counts_of(finished.out)
    assert counts["failed"] + counts["timed_out"] > 0
    assert counts["lost"] == 0
    assert not finished.finding("error_budget")["met"]
    assert finished.finding("accounting")["met"]
