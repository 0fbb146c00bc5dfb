"""System shared memory between the real ``loadgen run`` and the real ``sut-server``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from adapter_rig import ADAPTERS
from sut_process import sut_server
from tritonclient.utils import InferenceServerException

from loadgen_service.mlperf.audit.logs import read_accuracy_log

RUN_S = 100.0
DEADLINE_S = 20.0
SHARED_MEMORY = Path("/dev/shm")
DIGIT_BYTES = 64 * 4
LOGITS_BYTES = 10 * 4
# One sample a batch: an inference's last bits may depend on who shares its batch.
SERVER = ("--model", "digits", "--max-batch", "1")
SHARED = ("--shared-memory", "system")


def load(
    out: Path, target: str, *flags: str, scheme: str = "grpc"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--json", "--quiet"),
            *("--out", str(out), "--sut", f"{scheme}://{target}", "--model", "digits"),
            *("--dataset", "digits", "--scenario", "offline", "--mode", "accuracy", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def answers(out: Path) -> dict[int, bytes]:
    return {one.sample_index: one.data for one in read_accuracy_log(out)}


def regions_here() -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob("loadgen-[0-9]*")}


def regions_of(target: str) -> list[str]:
    client = triton.InferenceServerClient(target)
    told = client.get_system_shared_memory_status(client_timeout=DEADLINE_S)
    client.close()
    return sorted(told.regions)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_answers_by_shared_memory_are_those_by_message(tmp_path: Path, adapter: str) -> None:
    before = regions_here()
    placed = ("--output-shared-memory-bytes", str(LOGITS_BYTES))
    ways = {
        "message": (),
        "inputs": SHARED,
        "both": (*SHARED, *placed, "--output-shared-memory-slots", "3"),
    }
    found = {}
    with sut_server(*SERVER, "--shared-memory") as server:
        for name, flags in ways.items():
            out = tmp_path / name
            done = load(out, server.host_port, "--adapter", adapter, *flags)
            summary = summary_of(done)
            assert summary["errors"] == []
            assert summary["accuracy"]["top1"] > 0.9
            found[name] = (summary["accuracy"], answers(out))
            assert regions_of(server.host_port) == []
    said = found["message"][1]
    assert len(said) > 100
    assert len(set(said.values())) > len(said) // 2  # they do depend on the input
    assert found["inputs"] == found["message"]
    assert found["both"] == found["message"]
    assert regions_here() <= before


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_answer_larger_than_its_place_is_a_failed_query(tmp_path: Path, adapter: str) -> None:
    small = ("--output-shared-memory-bytes", str(LOGITS_BYTES - 4))
    with sut_server(*SERVER, "--shared-memory") as server:
        done = load(tmp_path / "run", server.host_port, "--adapter", adapter, *SHARED, *small)
    summary = summary_of(done)
    assert summary["valid"] is False
    assert "40 bytes do not fit the 36 of its place" in json.dumps(summary["errors"])


def test_a_server_that_offers_none_is_one_line(tmp_path: Path) -> None:
    before = regions_here()
    with sut_server(*SERVER) as server:
        done = load(tmp_path / "run", server.host_port, *SHARED)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "offers none" in line
    assert server.host_port in line
    assert "leave --shared-memory out" in line
    assert regions_here() <= before


def test_settings_that_do_not_go_with_it_are_one_line(tmp_path: Path) -> None:
    for scheme, flags, said in (
        ("grpc", ("--output-shared-memory-bytes", "40"), "needs --shared-memory system"),
        ("grpc", (*SHARED, "--samples-per-request", "2"), "a request carries one"),
        ("http", SHARED, "is offered over grpc://, not over http"),
    ):
        done = load(tmp_path / "run", "127.0.0.1:1", *flags, scheme=scheme)
        assert done.returncode == 2, flags
        [line] = done.stderr.splitlines()
        assert said in line


@contextlib.contextmanager
def memory(content: bytes) -> Iterator[str]:
    """The key of shared memory that holds ``content``."""
    path = SHARED_MEMORY / f"loadgen-test-{uuid.uuid4().hex}"
    path.write_bytes(content)
    try:
        yield f"/{path.name}"
    finally:
        path.unlink()


def placed_input(size: int, offset: int) -> triton.InferInput:
    tensor = triton.InferInput("input", [1, 64], "FP32")
    tensor.set_shared_memory("ours", size, offset)
    return tensor


def placed_output(size: int, offset: int) -> triton.InferRequestedOutput:
    tensor = triton.InferRequestedOutput("logits")
    tensor.set_shared_memory("ours", size, offset)
    return tensor


def assert_refused(error: InferenceServerException, text: str) -> None:
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert text in error.message()


def test_tritonclient_reads_and_writes_a_region_at_its_offset() -> None:
    digit = np.arange(64, dtype="<f4")
    content = bytes(8) + digit.tobytes() + bytes(LOGITS_BYTES + 8)
    with sut_server(*SERVER, "--shared-memory") as server, memory(content) as key:
        client = triton.InferenceServerClient(server.host_port)
        assert "system_shared_memory" in client.get_server_metadata().extensions
        plain = triton.InferInput("input", [1, 64], "FP32")
        plain.set_data_from_numpy(digit.reshape(1, 64))
        want = client.infer("digits", [plain]).as_numpy("logits").tobytes()
        client.register_system_shared_memory("ours", key, len(content) - 4, offset=4)
        place = placed_output(LOGITS_BYTES, 4 + DIGIT_BYTES)
        client.infer("digits", [placed_input(DIGIT_BYTES, 4)], outputs=[place])
        written = (SHARED_MEMORY / key[1:]).read_bytes()
        client.unregister_system_shared_memory("ours")
        client.close()
    start = 8 + DIGIT_BYTES
    assert written[:start] == content[:start]
    assert written[start : start + LOGITS_BYTES] == want
    assert written[start + LOGITS_BYTES :] == bytes(8)


def test_places_outside_a_region_are_refused() -> None:
    size = DIGIT_BYTES + LOGITS_BYTES
    good = placed_input(DIGIT_BYTES, 0)
    cases = [
        (placed_input(DIGIT_BYTES, size - DIGIT_BYTES + 1), None, "are outside the"),
        (placed_input(DIGIT_BYTES, -4), None, "are outside the"),
        (placed_input(2**62, 2**62), None, "are outside the"),
        (placed_input(0, 0), None, "above 0"),
        (placed_input(DIGIT_BYTES - 4, 0), None, "input"),
        (good, placed_output(LOGITS_BYTES, DIGIT_BYTES + 1), "are outside the"),
        (good, placed_output(LOGITS_BYTES - 4, DIGIT_BYTES), "do not fit"),
    ]
    with sut_server(*SERVER, "--shared-memory") as server, memory(bytes(size)) as key:
        client = triton.InferenceServerClient(server.host_port)
        with pytest.raises(InferenceServerException) as caught:
            client.infer("digits", [good], client_timeout=DEADLINE_S)
        assert_refused(caught.value, "no shared memory region 'ours'")
        client.register_system_shared_memory("ours", key, size)
        for tensor, place, text in cases:
            outputs = [place] if place else None
            with pytest.raises(InferenceServerException) as caught:
                client.infer("digits", [tensor], outputs=outputs, client_timeout=DEADLINE_S)
            assert_refused(caught.value, text)
        client.infer("digits", [good], client_timeout=DEADLINE_S)  # it serves on
        (SHARED_MEMORY / key[1:]).write_bytes(bytes(8))
        with pytest.raises(InferenceServerException) as caught:
            client.infer("digits", [good], client_timeout=DEADLINE_S)
        assert_refused(caught.value, "has been cut short")
        client.close()


def test_keys_and_sizes_that_are_not_there_are_not_registered() -> None:
    with sut_server(*SERVER, "--shared-memory") as server, memory(bytes(64)) as key:
        client = triton.InferenceServerClient(server.host_port)
        for name, given, size, offset, text in (
            ("ours", key, 65, 0, "are not within the 64"),
            ("ours", key, 64, 1, "are not within the 64"),
            ("ours", key, 0, 0, "are not within the 64"),
            ("ours", "/nothing-of-that-name", 64, 0, "cannot open the key"),
            ("ours", "/../etc/passwd", 64, 0, "is no name of shared memory"),
            ("", key, 64, 0, "wants a name"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                client.register_system_shared_memory(name, given, size, offset=offset)
            assert_refused(caught.value, text)
        client.register_system_shared_memory("ours", key, 64)
        with pytest.raises(InferenceServerException) as caught:
            client.register_system_shared_memory("ours", key, 64)
        assert_refused(caught.value, "is registered already")
        client.close()
