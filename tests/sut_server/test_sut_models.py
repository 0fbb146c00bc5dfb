"""Models behind the server: a user's class, an ONNX file, and what each may not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sut_server.errors import UsageError
from sut_server.models.python import PythonModel
from sut_server.models.registry import open_model

GOOD = """
import numpy as np

class Adder:
    name = "adder"
    inputs = [("x", "INT32", [-1, 2])]
    outputs = [("y", "INT32", (-1, 1))]
    def load(self):
        self.offset = 10
        self.loaded = []
    def infer(self, batch):
        return {"y": batch["x"].sum(axis=1, keepdims=True, dtype="<i4") + np.int32(self.offset)}
    def load_samples(self, sample_index):
        self.loaded = sample_index

class Plain:
    inputs = [("x", "INT32", [2])]
    outputs = [("y", "INT32", [2])]
    def load(self): pass
    def infer(self, batch): return {"y": batch["x"]}

class NoInfer:
    def load(self): pass

class BadType(Plain):
    inputs = [("x", "FLOAT", [2])]

class NoShape(Plain):
    outputs = [("y", "INT32")]

class NoTensors(Plain):
    inputs = []

class BadLoad(Plain):
    def load(self): raise OSError("no weights")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "h4_user_models.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "h4_user_models"


def test_a_users_class_serves(module: str) -> None:
    model = open_model(f"python:{module}:Adder", 1)
    assert model.spec.name == "adder"
    assert model.spec.is_batched
    x = np.array([[1, 2], [3, 4]], dtype="<i4")
    assert model.infer({"x": x})["y"].tolist() == [[13], [17]]
    model.load_samples([4])
    model.unload_samples([4])


def test_a_class_without_a_name_or_hints_is_called_by_its_own_name(module: str) -> None:
    model = PythonModel(f"{module}:Plain")
    assert model.spec.name == "Plain"
    assert not model.spec.is_batched
    model.load_samples([1])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NoInfer", "has no method infer"),
        ("BadType", "type 'FLOAT'; KServe v2 knows BOOL"),
        ("NoShape", "must be (name, datatype, shape) triples"),
        ("NoTensors", "must name at least one tensor"),
        ("BadLoad", "load failed: OSError: no weights"),
    ],
)
def test_a_class_that_cannot_serve_is_refused_in_one_line(
    module: str, name: str, text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        PythonModel(f"{module}:{name}")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_onnx_file_serves_with_its_own_tensors(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", kinds.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", kinds.FLOAT, ["batch", 3])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "doubler.onnx"
    onnx.save(made, str(path))
    model = open_model(f"onnx:{path}", 1)
    assert model.spec.name == "doubler"
    assert model.spec.inputs[0].shape == (-1, 3)
    assert model.infer({"x": np.ones((2, 3), "<f4")})["y"].tolist() == [[2.0] * 3] * 2


def test_the_example_of_the_docs_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = Path(__file__).parents[2] / "docs" / "examples"
    monkeypatch.syspath_prepend(str(examples))
    model = open_model("python:matrix_model:MatrixModel", 1)
    rows = model.infer({"input": np.ones((3, 64), dtype="<f4")})["probabilities"]
    assert rows.shape == (3, 10)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
