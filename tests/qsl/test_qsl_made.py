"""Random and zero data from metadata alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError, SutError, UserError
from loadgen_service.qsl import TensorSpec, open_library
from loadgen_service.qsl.tensors import BYTES, DTYPES, decode_elements

SMALL = [TensorSpec("x", "FP32", (-1, 16))]


def library(inputs=SMALL, **settings):
    return open_library(Settings(**settings), inputs, True)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_has_its_size_and_varies(datatype):
    made = library([TensorSpec("x", datatype, (-1, 50, 3))], dataset="random")
    first, second = made.sample(0)[0], made.sample(1)[0]
    assert len(first) == 150 * DTYPES[datatype].itemsize
    assert first != second


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_random_floats_lie_in_zero_to_one(datatype):
    made = library([TensorSpec("x", datatype, (-1, 4000))], dataset="random")
    values = np.frombuffer(made.sample(3)[0], DTYPES[datatype]).astype(float)
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.03


def test_random_integers_are_small_and_never_negative():
    made = library([TensorSpec("ids", "INT64", (-1, 1000))], dataset="random")
    values = np.frombuffer(made.sample(0)[0], "<i8")
    assert values.min() >= 0
    assert 100 < values.max() < 128


def test_random_text_is_sixteen_letters():
    made = library([TensorSpec("text", BYTES, (-1, 2))], dataset="random")
    assert [len(element) for element in decode_elements(made.sample(0)[0])] == [16, 16]


@given(st.permutations(range(5)))
def test_a_sample_does_not_depend_on_what_was_made_before(order):
    reference, other = library(dataset="random"), library(dataset="random")
    expected = [reference.sample(i) for i in range(5)]
    assert {i: other.sample(i) for i in order} == dict(enumerate(expected))


def test_the_bits_of_a_seed_never_change():
    values = np.frombuffer(library(dataset="random", data_seed=7).sample(1)[0], "<f4")
    assert values[:3].tolist() == [0.45899903774261475, 0.8325353860855103, 0.5087235569953918]


def test_seed_and_size_make_another_data_set():
    hashes = {
        library(**settings).dataset_hash
        for settings in (
            {"dataset": "random"},
            {"dataset": "random", "data_seed": 1},
            {"dataset": "random", "total_sample_count": 5},
            {"dataset": "zeros"},
        )
    }
    assert len(hashes) == 4
    assert library(dataset="random").dataset_hash == library(dataset="random").dataset_hash


def test_zeros_are_zeros_and_empty_texts():
    made = library([*SMALL, TensorSpec("t", BYTES, (-1, 2))], dataset="zeros")
    assert made.sample(0) == (bytes(64), bytes(8))
    assert made.preprocess_ns is None
    assert made.labels is None


def test_default_sizes_stay_within_memory():
    small, large = library(), library([TensorSpec("x", "FP32", (-1, 3, 224, 224))])
    assert small.total_sample_count == small.performance_sample_count == 1024
    assert large.total_sample_count == 111


def test_counts_come_from_the_settings():
    made = library(total_sample_count=5000, performance_sample_count=300)
    assert (made.total_sample_count, made.performance_sample_count) == (5000, 300)
    with pytest.raises(SettingsError, match="performance_sample_count: 9 asked for, random has 8"):
        library(total_sample_count=8, performance_sample_count=9)


def test_no_metadata_asks_for_a_shape():
    with pytest.raises(SutError, match="give --shape NAME"):
        library([])
    assert library([], shape=["x:FP32:-1,4"]).tensors == (TensorSpec("x", "FP32", (4,)),)


def test_open_lengths_ask_for_a_shape():
    inputs = [TensorSpec("ids", "INT64", (-1, -1))]
    with pytest.raises(SutError, match="--shape ids:INT64:DIM"):
        library(inputs)
    assert library(inputs, shape=["ids:INT64:8"]).tensors[0].shape == (8,)


def test_a_model_without_a_batch_takes_one_sample_a_request():
    inputs = [TensorSpec("x", "FP32", (1, 4))]
    assert open_library(Settings(), inputs, False).tensors[0].shape == (1, 4)
    settings = Settings(scenario="offline", samples_per_request=4)
    with pytest.raises(SettingsError, match="takes no batch"):
        open_library(settings, inputs, False)


@pytest.mark.parametrize("dataset", ["", "imagnet-sample", "no/such/folder", "no/such.npz"])
def test_an_unknown_data_set_lists_the_built_in_ones(dataset):
    with pytest.raises(UserError, match=r"neither built in nor a path; built in are random, "):
        library(dataset=dataset)


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1,2")
    with pytest.raises(UserError, match=r"data\.csv must be a folder of images, an \.npz or"):
        library(dataset=str(path))


def test_a_sample_outside_is_an_index_error():
    with pytest.raises(IndexError):
        library().sample(1024)
