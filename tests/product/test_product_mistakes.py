"""A user's mistakes: each gets exit code 2 and one line that names it, before any load."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from product_runs import run
from sut_process import SutProcess, sut_server


@pytest.fixture(scope="module")
def sut() -> Iterator[SutProcess]:
    with sut_server("--model", "null") as server:
        yield server


@pytest.fixture(scope="module")
def digits() -> Iterator[SutProcess]:
    with sut_server("--model", "digits") as server:
        yield server


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refused(tmp_path: Path, *flags: str) -> str:
    """The one line that the mistake gets."""
    finished = run(tmp_path / "run", *flags)
    assert finished.exit_code == 2, finished.said
    assert "Traceback" not in finished.said
    lines = [line for line in finished.said.splitlines() if line.startswith("loadgen")]
    assert len(lines) == 1, finished.said
    print(lines[0])  # with -s: the list of what each mistake gets
    return lines[0]


def test_nothing_listens(tmp_path: Path) -> None:
    address = f"127.0.0.1:{_closed_port()}"
    line = _refused(tmp_path, "--sut", f"grpc://{address}", "--model", "null")
    assert address in line


def test_unknown_model(tmp_path: Path, sut: SutProcess) -> None:
    line = _refused(tmp_path, "--sut", f"grpc://{sut.host_port}", "--model", "resnet51")
    assert "resnet51" in line


def test_no_model_named(tmp_path: Path, sut: SutProcess) -> None:
    assert "--model" in _refused(tmp_path, "--sut", f"grpc://{sut.host_port}")


def test_no_sut_named(tmp_path: Path) -> None:
    assert "--sut" in _refused(tmp_path, "--model", "null")


def test_address_without_a_scheme(tmp_path: Path) -> None:
    assert "grpc://" in _refused(tmp_path, "--sut", "127.0.0.1:8001", "--model", "null")


def test_misspelt_flag(tmp_path: Path) -> None:
    assert "--target-qps" in _refused(tmp_path, "--taget-qps", "5")


def test_misspelt_scenario(tmp_path: Path) -> None:
    assert "server" in _refused(tmp_path, "--scenario", "sever")


def test_unknown_key_in_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("target_qsp: 5\n")
    line = _refused(tmp_path, "--config", str(path))
    assert "target_qsp" in line
    assert "target_qps" in line


def test_data_of_the_wrong_shape(tmp_path: Path, digits: SutProcess) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, input=np.zeros((10, 63), np.float32))
    line = _refused(
        tmp_path, "--sut", f"grpc://{digits.host_port}", "--model", "digits", "--dataset", str(path)
    )
    assert "input" in line
    assert "63" in line
    assert "64" in line


def test_data_that_is_not_there(tmp_path: Path, digits: SutProcess) -> None:
    path = tmp_path / "nowhere.npz"
    line = _refused(
        tmp_path, "--sut", f"grpc://{digits.host_port}", "--model", "digits", "--dataset", str(path)
    )
    assert "nowhere.npz" in line


def test_two_workers_for_one_stream(tmp_path: Path, sut: SutProcess) -> None:
    line = _refused(
        tmp_path, "--sut", f"grpc://{sut.host_port}", "--model", "null",
        "--scenario", "single_stream", "--workers", "2",
    )  # fmt: skip
    assert "workers" in line


def test_deadline_below_the_limit(tmp_path: Path) -> None:
    line = _refused(tmp_path, "--timeout-ms", "50", "--target-latency-ms", "100")
    assert "timeout_ms" in line


def test_a_service_that_is_not_there(tmp_path: Path, sut: SutProcess) -> None:
    address = f"127.0.0.1:{_closed_port()}"
    line = _refused(
        tmp_path, "--service", address, "--sut", f"grpc://{sut.host_port}", "--model", "null"
    )
    assert address in line


def test_a_results_folder_that_is_in_use(tmp_path: Path, sut: SutProcess) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("{}")
    line = _refused(tmp_path, "--sut", f"grpc://{sut.host_port}", "--model", "null")
    assert str(tmp_path / "run") in line
