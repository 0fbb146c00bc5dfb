"""Arrays: .npz files and the built-in digits."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError, SutError, UserError
from loadgen_service.qsl import TensorSpec, open_library
from loadgen_service.qsl.tensors import decode_elements

INPUTS = [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("t", "BYTES", (-1, 1))]


def library(inputs, **settings):
    return open_library(Settings(**settings), inputs, True)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "data.npz"
    np.savez(
        file,
        a=np.arange(6, dtype=">f4").reshape(3, 2),
        t=np.array([["x"], ["yy"], ["é"]]),
        labels=np.array([4, 5, -1], np.int16),
        spare=np.zeros(9),
    )
    return file


def test_arrays_become_samples_by_the_inputs_names(path):
    made = library(INPUTS, dataset=str(path))
    assert made.total_sample_count == 3
    assert made.labels.tolist() == [4, 5, -1]
    first, text = made.sample(2)
    assert np.frombuffer(first, "<f4").tolist() == [4.0, 5.0]
    assert decode_elements(text) == ["é".encode()]


def test_without_metadata_the_file_says_the_tensors(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3), np.int64))
    made = library([], dataset=str(tmp_path / "d.npz"))
    assert made.tensors == (TensorSpec("x", "INT64", (3,)),)
    assert made.batched


def test_total_sample_count_takes_the_first_ones(path):
    made = library(INPUTS, dataset=str(path), total_sample_count=2)
    assert made.total_sample_count == 2
    assert made.labels.tolist() == [4, 5]
    with pytest.raises(SettingsError, match=r"total_sample_count: 4 asked for, data\.npz has 3"):
        library(INPUTS, dataset=str(path), total_sample_count=4)


def test_an_input_named_labels_is_an_input(tmp_path):
    np.savez(tmp_path / "d.npz", labels=np.zeros((4, 3), np.float32))
    made = library([TensorSpec("labels", "FP32", (-1, 3))], dataset=str(tmp_path / "d.npz"))
    assert made.labels is None


@pytest.mark.parametrize(
    ("tensor", "line"),
    [
        (TensorSpec("b", "FP32", (-1, 2)), "no array 'b' for that input; it has 'a', 't', 'spare'"),
        (TensorSpec("a", "FP32", (-1, 3)), r"expects FP32 \[3\] a sample, .* gives FP32 \[2\]"),
        (TensorSpec("a", "INT32", (-1, 2)), r"expects INT32 \[2\] a sample"),
        (TensorSpec("a", "BYTES", (-1, 2)), r"expects BYTES \[2\] a sample"),
    ],
)
def test_an_unfitting_array_is_named(path, tensor, line):
    with pytest.raises(UserError, match=line):
        library([tensor], dataset=str(path))


def test_arrays_of_different_counts_are_named(tmp_path):
    np.savez(tmp_path / "d.npz", a=np.zeros((4, 2), np.float32), b=np.zeros((3, 2), np.float32))
    with pytest.raises(UserError, match="same count of samples; found a 4, b 3"):
        library([], dataset=str(tmp_path / "d.npz"))


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"a": np.zeros((0, 2), np.float32)}, "same count of samples; found a 0"),
        ({"a": np.float32(1)}, "has no dimension of samples"),
        ({"a": np.zeros((2, 2), complex)}, "complex128, not a KServe one"),
        ({"a": np.array([{}, {}], object)}, "not a readable .npz"),
        ({"a": np.zeros((2, 2), np.float32), "labels": np.zeros(3, int)}, "labels must be 2 whole"),
        ({"a": np.zeros((2, 2), np.float32), "labels": np.zeros(2)}, "labels must be 2 whole"),
        ({}, "same count of samples; found none"),
    ],
)
def test_arrays_that_are_no_samples_are_named(tmp_path, arrays, line):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UserError, match=line):
        library([], dataset=str(tmp_path / "d.npz"))


@pytest.mark.parametrize("content", [b"", b"no zip", b"\x93NUMPY", b"PK\3\4broken"])
def test_a_file_that_is_no_npz_is_named(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"d\.npz is not a readable \.npz") as caught:
        library([], dataset=str(tmp_path / "d.npz"))
    assert "\n" not in str(caught.value)


def test_identity_follows_content_and_labels(tmp_path):
    hashes = set()
    for value, label in ((0, 0), (1, 0), (0, 1)):
        np.savez(tmp_path / "d.npz", a=np.full((2, 2), value), labels=np.full(2, label))
        hashes.add(library([], dataset=str(tmp_path / "d.npz")).dataset_hash)
    assert len(hashes) == 3


def test_digits_are_the_half_held_out():
    made = library([TensorSpec("input", "FP32", (-1, 64))], dataset="digits")
    assert made.total_sample_count == 898
    assert np.bincount(made.labels).min() > 80
    pixels = np.frombuffer(made.sample(0)[0], "<f4")
    assert (pixels.min(), pixels.max()) == (0.0, 1.0)


def test_digits_take_any_shape_of_64():
    made = library([TensorSpec("x", "FP32", (-1, 1, 8, 8))], dataset="digits")
    assert made.tensors[0].shape == (1, 8, 8)
    with pytest.raises(SutError, match=r"expects FP32 \[3,224,224\].*digits gives FP32 \[64\]"):
        library([TensorSpec("x", "FP32", (-1, 3, 224, 224))], dataset="digits")
