"""The built-in models: right graphs, right answers, kept safely."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict

import numpy as np
import onnx
import onnxruntime
import pytest

from sut_server.errors import UsageError
from sut_server.models.zoo import MODEL_NAMES, build, digits, onnx_path, torch_file
from sut_server.models.zoo.efficientnet_lite0 import same_padding
from sut_server.models.zoo.packages import package_file


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def in_cache(cache, monkeypatch):
    monkeypatch.setenv("LOADGEN_CACHE", str(cache))
    return cache


def session(name):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(onnx_path(name)), sess_options=options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("efficientnet-lite0", ["batch", 3, 224, 224], ["batch", 1000]),
        ("digits", ["batch", 64], ["batch", 10]),
    ],
)
def test_a_model_has_its_tensors_and_a_free_batch(in_cache, name, inputs, outputs):
    model = session(name)
    assert [(i.name, i.type, i.shape) for i in model.get_inputs()] == [
        ("input", "tensor(float)", inputs)
    ]
    assert [(o.name, o.type, o.shape) for o in model.get_outputs()] == [
        ("logits", "tensor(float)", outputs)
    ]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_batch_answers_as_its_samples_do(in_cache, name):
    model = session(name)
    shape = [n for n in model.get_inputs()[0].shape if isinstance(n, int)]
    batch = np.random.RandomState(1).rand(3, *shape).astype(np.float32)
    whole = model.run(None, {"input": batch})[0]
    single = np.concatenate([model.run(None, {"input": batch[i : i + 1]})[0] for i in range(3)])
    assert np.abs(whole - single).max() < 1e-4


def test_efficientnet_lite0_has_its_4_65_million_weights(in_cache):
    model = onnx.load(onnx_path("efficientnet-lite0"))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 49
    assert kinds.count("Add") == 9
    assert "BatchNormalization" not in kinds
    # folding leaves one bias for the four vectors of each normalisation
    assert 4_600_000 < sum(np.prod(w.dims) for w in model.graph.initializer) < 4_660_000


def test_digits_answers_most_of_the_half_it_never_saw(in_cache):
    import gzip

    with gzip.open(package_file("sklearn", "datasets", "data", "digits.csv.gz"), "rt") as file:
        held_out = np.loadtxt(file, delimiter=",")[1::2]
    pixels = (held_out[:, :-1] / 16).astype(np.float32)
    classes = session("digits").run(None, {"input": pixels})[0].argmax(axis=1)
    assert (classes == held_out[:, -1]).mean() > 0.96


def test_training_gives_the_same_weights_each_time():
    half = digits.training_half()
    few = [half[0][:200], half[1][:200]]
    one, other = digits.train(*few), digits.train(*few)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_shifted_digits_keep_their_class_and_lose_one_edge():
    pixels = np.arange(64.0)[None]
    moved, classes = digits.shifted(pixels, np.array([7]))
    assert classes.tolist() == [7] * 5
    assert np.array_equal(moved[0], pixels[0])
    right_gone = moved[2].reshape(8, 8)
    assert np.array_equal(right_gone[:, 1:], pixels.reshape(8, 8)[:, :-1])
    assert not right_gone[:, 0].any()


def test_a_made_model_is_kept_and_not_made_again(in_cache, monkeypatch):
    path = onnx_path("digits")
    assert path.parent == in_cache / "models"
    monkeypatch.setitem(build._RECIPES, "digits", None)
    assert onnx_path("digits") == path
    assert not list(path.parent.glob(".*"))


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(UsageError, match="'resnet'; there are efficientnet-lite0, digits"):
        onnx_path("resnet")


def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(digits, "package_file", lambda *_: package_file("no_such_package", "x"))
    with pytest.raises(UsageError, match=r"digits needs no_such_package/x: pip install 'loadgen"):
        onnx_path("digits")


def test_a_cache_that_is_no_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "models").write_text("a file")
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot keep the model in .*; set LOADGEN_CACHE"):
        onnx_path("digits")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 2, (0, 1, 112)), (112, 3, 1, (1, 1, 112)), (56, 5, 2, (1, 2, 28)),
        (7, 5, 1, (2, 2, 7)), (7, 1, 1, (0, 0, 7)), (5, 3, 2, (1, 1, 3)),
    ],
)  # fmt: skip
def test_same_padding_is_tensorflows(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


def legacy_file(views: bytes, storage: np.ndarray) -> bytes:
    out = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {}):
        pickle.dump(head, out, protocol=2)
    out.write(views)
    pickle.dump(["0"], out, protocol=2)
    out.write(struct.pack("<q", storage.size) + storage.tobytes())
    return out.getvalue()


def state_pickle(offset, size, strides) -> bytes:
    """Protocol-2 pickle of OrderedDict(w=_rebuild_tensor_v2(persistent storage, ...))."""
    out = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00w"
    out += b"ctorch._utils\n_rebuild_tensor_v2\n("
    out += b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    out += b"K\x06NtQ" + b"K" + bytes([offset])
    for numbers in (size, strides):
        out += b"(" + b"".join(b"K" + bytes([n]) for n in numbers) + b"t"
    return out + b"\x89ccollections\nOrderedDict\n)RtRu."


def test_strided_weights_are_read_in_their_own_order(tmp_path):
    path = tmp_path / "weights.pth"
    storage = np.arange(6, dtype="<f4")
    path.write_bytes(legacy_file(state_pickle(0, (2, 3), (1, 2)), storage))
    state = torch_file.read_state(path)
    assert state["w"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert state["w"].flags.c_contiguous


@pytest.mark.parametrize("harmful", [b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00idtR.",
                                     b"\x80\x02ctorch\nload\n."])  # fmt: skip
def test_weights_that_would_run_code_are_refused(tmp_path, harmful):
    path = tmp_path / "weights.pth"
    path.write_bytes(legacy_file(harmful, np.zeros(1, "<f4")))
    with pytest.raises(pickle.UnpicklingError, match="does not belong in weights"):
        torch_file.read_state(path)


def test_an_ordered_dict_is_all_that_a_state_needs():
    stream = io.BytesIO(pickle.dumps(OrderedDict(a=1), protocol=2))
    assert torch_file._StateUnpickler(stream).load() == {"a": 1}
