"""Datatypes and raw bytes: what KServe v2 expects, judged by numpy and tritonclient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor

from loadgen_service.errors import SettingsError, SutError
from loadgen_service.qsl.input_specs import fitted_shape, is_batched, parse_shape, wanted_tensors
from loadgen_service.qsl.tensors import (
    DTYPES,
    TensorSpec,
    checked_spec,
    decode_elements,
    encode,
    encode_elements,
)

IMAGE = TensorSpec("input", "FP32", (-1, 3, 224, 224))


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_bytes_elements_read_back_as_tritonclient_reads_them(elements):
    raw = encode_elements(elements)
    assert decode_elements(raw) == elements
    if elements:
        assert deserialize_bytes_tensor(raw).tolist() == elements


@pytest.mark.parametrize("raw", [b"\1", b"\5\0\0\0abc", b"\0\0\0\0\1"])
def test_bytes_that_do_not_add_up_are_no_elements(raw):
    assert decode_elements(raw) is None


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BF16"}))
def test_numbers_are_little_endian_and_row_major(datatype):
    array = np.arange(6).reshape(2, 3).T.astype(DTYPES[datatype].newbyteorder(">"))
    raw = encode(array, datatype)
    assert np.frombuffer(raw, DTYPES[datatype]).tolist() == array.ravel().tolist()


def test_bfloat16_rounds_to_nearest_even_and_keeps_nan():
    values = np.array([1.0, -2.5, 1.00390625, 1.01171875, np.inf, np.nan], np.float32)
    bits = np.frombuffer(encode(values, "BF16"), "<u2")
    back = (bits.astype("<u4") << 16).view("<f4")
    assert back[:5].tolist() == [1.0, -2.5, 1.0, 1.015625, np.inf]
    assert np.isnan(back[5])


@pytest.mark.parametrize(
    ("tensor", "line"),
    [
        (TensorSpec("x", "FLOAT", (1,)), "datatype 'FLOAT'"),
        (TensorSpec("x", "FP32", (-2,)), "a length is -1, 0 or more"),
    ],
)
def test_impossible_metadata_is_named(tensor, line):
    with pytest.raises(SutError, match=line):
        checked_spec(tensor)


def test_a_batch_is_an_open_first_dimension_of_every_input():
    assert is_batched([IMAGE])
    assert not is_batched([IMAGE, TensorSpec("y", "FP32", (1,))])
    assert not is_batched([TensorSpec("y", "FP32", ())])
    assert not is_batched([])


def test_the_batch_dimension_is_no_part_of_a_sample():
    specs, batched = wanted_tensors([IMAGE], True, [])
    assert batched
    assert specs == (TensorSpec("input", "FP32", (3, 224, 224)),)


def test_shape_flag_fills_open_lengths_with_or_without_the_batch():
    open_lengths = TensorSpec("ids", "INT64", (-1, -1))
    for flag in ("ids:INT64:-1,128", "ids:int64:128"):
        specs, _ = wanted_tensors([open_lengths], True, [flag])
        assert specs[0].shape == (128,)


def test_shape_flag_stands_in_for_missing_metadata():
    specs, batched = wanted_tensors([], False, ["a:b:FP32:-1,4"])
    assert batched
    assert specs == (TensorSpec("a:b", "FP32", (4,)),)
    specs, batched = wanted_tensors([], True, ["a:FP32:1,4"])
    assert not batched
    assert specs[0].shape == (1, 4)


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("input", "is not NAME:DATATYPE:DIM"),
        ("FP32:3", "is not NAME:DATATYPE:DIM"),
        ("input:FP32:3,x", "is not NAME:DATATYPE:DIM"),
        ("input:FLOAT:3", "datatype 'FLOAT'"),
        ("other:FP32:3", "has no input 'other'; it has 'input'"),
        ("input:FP16:3,224,224", "at the server, not FP16"),
        ("input:FP32:3,320,320", r"is FP32 \[3,224,224\] at the server"),
    ],
)
def test_a_wrong_shape_flag_is_named(flag, line):
    with pytest.raises(SettingsError, match=line):
        wanted_tensors([IMAGE], True, [flag])


def test_parse_shape_of_a_scalar():
    assert parse_shape("x:FP32:").shape == ()


@pytest.mark.parametrize(
    ("shape", "wanted", "fitted"),
    [
        ((3, 2), (3, 2), (3, 2)),
        ((3, 2), (-1, 2), (3, 2)),
        ((3, 2), (1, 3, 2), (1, 3, 2)),
        ((3, 2), (2, 3, 2), None),
        ((3, 2), (2,), None),
        ((), (1,), (1,)),
    ],
)
def test_a_fixed_leading_one_is_a_batch_of_one(shape, wanted, fitted):
    assert fitted_shape(shape, wanted) == fitted


def test_the_configuration_decides_about_the_batch_where_it_is_known():
    open_first = [TensorSpec("ids", "INT64", (-1,))]
    assert is_batched(open_first)
    assert is_batched(open_first, 8)
    assert not is_batched(open_first, 0)


@pytest.mark.parametrize(
    ("batched", "flag", "sent"),
    [
        (False, "4,3,8,8", ((4, 3, 8, 8), False)),
        (False, "-1,3,8,8", ((3, 8, 8), True)),
        (True, "-1,3,8,8", ((3, 8, 8), True)),
        (True, "1,3,8,8", ((3, 8, 8), True)),
        (True, "3,8,8", ((3, 8, 8), True)),
        (True, "4,3,8,8", ((4, 3, 8, 8), False)),
    ],
)
def test_a_request_has_the_shape_that_the_flag_says(batched, flag, sent):
    inputs = [TensorSpec("x", "FP32", (-1, 3, -1, -1))]
    [spec], is_batch = wanted_tensors(inputs, batched, [f"x:FP32:{flag}"])
    assert (spec.shape, is_batch) == sent


def test_a_tensor_that_no_message_holds_is_named():
    with pytest.raises(SettingsError, match="one message holds"):
        parse_shape("x:FP32:100000,100000,100000")
