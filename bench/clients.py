"""Each client's queries a second against one server: ours, the bare wire, and the peers."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from pathlib import Path

from processes import (
    BENCH_VENV,
    CLIENT_CORE,
    COMMAND_S,
    PEERS,
    MissingPeer,
    RowFailed,
    output_of,
    python,
)
from requests_file import request_file

SERVICE = "/inference.GRPCInferenceService/"
ANALYZER = "2.41"
ANALYZER_EXITS = (0, 2, -6, 250)
"""2: it calls its own figure unstable; -6: 2.41 ends by an abort after its report."""


def product(
    address: str, outstanding: int, seconds: float, model: str = "null", *flags: str
) -> float:
    """``loadgen run`` as a user starts it: service, collector and one worker on the core."""
    return product_summary(address, outstanding, seconds, model, *flags)["completed_qps"]


def product_summary(
    address: str,
    outstanding: int,
    seconds: float,
    model: str = "null",
    *flags: str,
    core: int | str = CLIENT_CORE,
    limit_s: float = COMMAND_S,
) -> dict:
    """The summary of such a run; ended after ``limit_s``."""
    targets = ",".join(f"grpc://{one}" for one in address.split(","))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        output_of(
            python(
                "-m",
                "loadgen_service",
                "run",
                "--sut",
                targets,
                "--model",
                model,
                "--scenario",
                "concurrency",
                "--concurrency",
                str(outstanding),
                "--min-duration-ms",
                str(round(seconds * 1000)),
                "--min-query-count",
                "1",
                "--out",
                str(out),
                *flags,
            ),
            core,
            limit_s,
            allowed=(0, 1),
        )
        summary = json.loads((out / "summary.json").read_text())
    if summary["counts"]["queries"]["failed"] or not summary["completed_qps"]:
        raise RowFailed(f"loadgen run failed queries: {summary['invalid_reason']}")
    return summary


def _peer_script(name: str, address: str, outstanding: int, seconds: float, *more: str) -> float:
    argv = python(str(PEERS / name), address, str(outstanding), str(seconds), *more)
    return float(output_of(argv, CLIENT_CORE).split()[-1])


def wire_loop(address: str, outstanding: int, seconds: float, elements: int = 16) -> float:
    """grpc_wire on a bare uvloop protocol: no schedule, no records."""
    return _peer_script("wire_loop.py", address, outstanding, seconds, str(elements))


def grpc_aio(
    address: str, outstanding: int, seconds: float, elements: int = 16, model: str = "null"
) -> float:
    """grpc.aio with ready bytes and no parsing, on uvloop."""
    more = (str(elements), model)
    return _peer_script("grpc_aio_client.py", address, outstanding, seconds, *more)


def tritonclient_aio(address: str, outstanding: int, seconds: float) -> float:
    """tritonclient.grpc.aio, its inputs made once."""
    return _peer_script("tritonclient_client.py", address, outstanding, seconds)


def h2load(
    address: str,
    outstanding: int,
    seconds: float,
    elements: int = 16,
    model: str = "null",
    method: str = "ModelInfer",
    connections: int = 1,
) -> float:
    """nghttp2's C load generator with the same request bytes; ``outstanding`` over all."""
    with request_file(elements if method == "ModelInfer" else 0, model) as path:
        said = output_of(
            ["h2load", "-D", str(round(seconds)), "-c", str(connections),
             "-m", str(outstanding // connections), "-t", "1", "-d", path,
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             f"http://{address}{SERVICE}{method}"],
            CLIENT_CORE,
        )  # fmt: skip
    return h2load_rate(said)


def h2load_rate(said: str) -> float:
    """Requests a second by its report. Raises RowFailed where one of them failed."""
    found = re.search(r"([\d.]+) req/s", said)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
    if (
        not found
        or not float(found[1])
        or failed is None
        or int(failed[1]) + int(failed[2]) + int(failed[3])
    ):
        raise RowFailed(f"h2load: {said[-300:]}")
    return float(found[1])


def perf_analyzer(address: str, outstanding: int, seconds: float, mode: str) -> float:
    """Triton's C++ client; ``mode`` is "async" or "sync"."""
    said = output_of(
        [perf_analyzer_path(), "-v", "-m", "null", "-u", address, "-i", "grpc", f"--{mode}",
         "--concurrency-range", str(outstanding), "-p", str(round(seconds * 1000 / 3)),
         "-s", "90", "-r", "3"],
        CLIENT_CORE,
        env=perf_analyzer_env(),
        seconds=40.0,
        allowed=ANALYZER_EXITS,
        keep_late=True,
    )  # fmt: skip
    found = re.findall(r"throughput: ([\d.]+) infer/sec", said, re.IGNORECASE)
    if not found:
        raise RowFailed(f"perf_analyzer: {said[-300:]}")
    return statistics.median(map(float, found))


def perf_analyzer_path() -> str:
    """The binary that tritonclient 2.41.0 bundles. Raises MissingPeer."""
    path = BENCH_VENV / "bin" / "perf_analyzer"
    if not path.exists():
        raise MissingPeer("perf_analyzer is not installed: make bench-setup")
    return str(path)


def perf_analyzer_env() -> dict[str, str]:
    """It loads a CUDA library even where no GPU is."""
    library = next(BENCH_VENV.glob("lib/*/site-packages/nvidia/cuda_runtime/lib"), None)
    if library is None:
        raise MissingPeer("libcudart.so.12 is not installed: make bench-setup")
    return {"LD_LIBRARY_PATH": str(library)}
