"""The batch of zeros that a model runs before it is ready."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sut_fakes import FakeModel

from sut_server.engines.warm_up import warm_up, warm_up_batch, zeros
from sut_server.errors import UsageError
from sut_server.main import main
from sut_server.models.spec import Batch, ModelSpec
from sut_server.models.tensors import TensorSpec


class Noting(FakeModel):
    """Notes which threads it ran on."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def infer(self, batch: Batch) -> Batch:
        self.threads.append(threading.get_ident())
        return super().infer(batch)


def test_a_model_runs_the_largest_batch_on_each_thread() -> None:
    model = Noting()
    with ThreadPoolExecutor(3) as threads:
        warm_up(model, 5, threads, 3)
    assert model.batch_rows == [5, 5, 5]
    assert len(set(model.threads)) == 3


def test_a_model_that_hangs_is_named() -> None:
    model = FakeModel()
    model.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(
            UsageError, match=r"'double' has not ended its batch of zeros in 0\.1 s"
        ):
            warm_up(model, 5, threads, 1, limit_s=0.1)
        model.gate.set()


def test_zeros_have_the_declared_types_and_shapes() -> None:
    spec = replace(
        FakeModel.spec,
        inputs=(TensorSpec("x", "INT8", (-1, 3)), TensorSpec("t", "BYTES", (-1,))),
    )
    batch = zeros(spec, 2)
    assert (batch["x"].shape, batch["x"].dtype) == ((2, 3), np.dtype("<i1"))
    assert batch["t"].tolist() == [b"", b""]
    assert not batch["x"].flags.writeable
    alone = replace(spec, inputs=(TensorSpec("x", "FP32", (4, 3)),))
    assert zeros(alone, 2)["x"].shape == (4, 3)


def test_an_open_length_is_named() -> None:
    model = FakeModel()
    model.spec = replace(FakeModel.spec, inputs=(TensorSpec("x", "FP32", (-1, -1)),))
    with ThreadPoolExecutor(1) as threads, pytest.raises(UsageError, match=r"'x'.*open length"):
        warm_up(model, 5, threads, 1)


class Wrong(FakeModel):
    def infer(self, batch: Batch) -> Batch:
        return {"y": batch["x"][:1]}


@pytest.mark.parametrize(
    ("model", "text"),
    [(Wrong(), "the shape [1, 2], declared [5, 2]"), (FakeModel(), "RuntimeError: no luck")],
)
def test_a_model_that_fails_is_the_users_mistake(model: Any, text: str) -> None:
    if not isinstance(model, Wrong):
        model.error = RuntimeError("no\nluck")
    with ThreadPoolExecutor(1) as threads, pytest.raises(UsageError) as raised:
        warm_up(model, 5, threads, 1)
    assert text in str(raised.value)
    assert str(raised.value).startswith(
        "--warm-up: model 'double' does not run on a batch of zeros: "
    )


def write_model(folder: Path, module: str, infer: str) -> None:
    """A module with one model, whose ``infer(batch)`` runs this line; ``said`` is a list."""
    (folder / f"{module}.py").write_text(
        f"""
said = []
class Model:
    name = '{module}'
    inputs = [('x', 'FP32', [-1, 2])]
    outputs = [('y', 'FP32', [-1, 2])]
    def load(self): pass
    def infer(self, batch):
        {infer}
"""
    )


def test_the_server_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, "cold", "raise ValueError('zeros?')")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["--model", "python:cold:Model", "--port", "0", "--warm-up"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    text = (
        "sut-server: --warm-up: model 'cold' does not run on a batch of zeros: ValueError: zeros?\n"
    )
    assert captured.err == text


def test_a_sample_of_a_file_is_the_batch(tmp_path: Path) -> None:
    two = ModelSpec(
        "m",
        "test",
        (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT32", (-1,))),
        (TensorSpec("y", "FP32", (-1, 2)),),
    )
    np.savez(tmp_path / "s.npz", a=np.array([1, 2], "<f4"), b=np.array(7, "<i4"))
    found = warm_up_batch(two, 3, tmp_path / "s.npz")
    assert found is not None
    assert found["a"].tolist() == [[1, 2]] * 3
    assert found["b"].tolist() == [7] * 3
    one = ModelSpec("m", "test", (TensorSpec("x", "BYTES", (-1, 1)),), two.outputs)
    (tmp_path / "picture.jpeg").write_bytes(b"\xff\xd8")
    found = warm_up_batch(one, 2, tmp_path / "picture.jpeg")
    assert found is not None
    assert found["x"].tolist() == [[b"\xff\xd8"]] * 2
    assert warm_up_batch(one, 2, Path()) is None


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("no.npy", None, "FileNotFoundError"),
        ("bad.npy", b"junk", "ValueError"),
        ("short.bin", bytes(4), "ValueError"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(
    tmp_path: Path, name: str, content: bytes | None, text: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"--warm-up .*{name}: model 'double': .*{text}"):
        warm_up_batch(FakeModel.spec, 2, tmp_path / name)
