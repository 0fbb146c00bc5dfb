"""perf_analyzer's --input-data JSON, in every form its documentation shows, and broken."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError, UserError
from loadgen_service.qsl import TensorSpec, open_library
from loadgen_service.qsl.tensors import decode_elements, encode_elements

X = TensorSpec("X", "INT32", (-1, 2, 2))
TEXT = TensorSpec("T", "BYTES", (-1, 1))
VALUES = [1, 2, 3, 4]
RAW = np.array(VALUES, "<i4").tobytes()


@pytest.fixture
def opened(tmp_path):
    def opened(document, *inputs, **settings):
        path = tmp_path / "in.json"
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        path.write_bytes(content)
        return open_library(Settings(dataset=str(path), **settings), inputs or (X,), True)

    return opened


@pytest.mark.parametrize(
    "value",
    [
        VALUES,
        [[1, 2], [3, 4]],
        {"content": VALUES},
        {"content": VALUES, "shape": [2, 2]},
        {"b64": base64.b64encode(RAW).decode()},
        {"b64": base64.b64encode(RAW).decode(), "shape": [2, 2]},
    ],
)
def test_every_form_of_a_value_gives_the_same_bytes(opened, value):
    library = opened({"data": [{"X": value}]})
    assert library.sample(0) == (RAW,)
    assert library.tensors == (TensorSpec("X", "INT32", (2, 2)),)


def test_streams_are_read_in_order(opened):
    library = opened({"data": [[{"X": [0] * 4}, {"X": [1] * 4}], {"X": [2] * 4}]})
    firsts = [np.frombuffer(library.sample(i)[0], "<i4")[0] for i in range(3)]
    assert firsts == [0, 1, 2]


def test_lengths_that_all_samples_share_are_filled_in_and_others_stay_open(opened):
    ids = TensorSpec("ids", "INT64", (-1, -1))
    library = opened({"data": [{"ids": [1, 2, 3]}, {"ids": [4, 5, 6]}]}, ids)
    assert library.tensors[0].shape == (3,)
    library = opened({"data": [{"ids": [1, 2, 3]}, {"ids": [4, 5]}]}, ids)
    assert library.tensors[0].shape == (-1,)
    assert [library.shapes(0), library.shapes(1)] == [((3,),), ((2,),)]


def test_a_tensor_of_no_elements_is_sent_as_such(opened):
    edges = TensorSpec("edges", "INT64", (-1, -1, 2))
    flags = TensorSpec("flags", "BOOL", (-1, -1))
    library = opened(
        {"data": [{"edges": {"content": [], "shape": [0, 2]}, "flags": []}]}, edges, flags
    )
    assert library.sample(0) == (b"", b"")
    assert library.shapes(0) == ((0, 2), (0,))


def test_optional_inputs_may_be_left_out_of_some_samples(opened):
    text, stop = TensorSpec("t", "INT32", (-1, 1)), TensorSpec("s", "BOOL", (-1, 1), optional=True)
    library = opened({"data": [{"t": [1]}, {"t": [2], "s": [True]}]}, text, stop)
    assert [library.sample(0)[1], library.sample(1)[1]] == [None, b"\1"]
    assert library.shapes(0) == ((1,), None)
    other = opened({"data": [{"t": [1], "s": [True]}, {"t": [2]}]}, text, stop)
    assert library.dataset_hash != other.dataset_hash


def test_nested_lists_fill_several_open_lengths(opened):
    two = TensorSpec("m", "FP32", (-1, -1, -1))
    assert opened({"data": [{"m": [[1, 2], [3, 4], [5, 6]]}]}, two).tensors[0].shape == (3, 2)
    with pytest.raises(UserError, match="leaves lengths open: give the value a shape"):
        opened({"data": [{"m": [1, 2, 3, 4]}]}, two)
    encoded = base64.b64encode(bytes(16)).decode()
    one = TensorSpec("m", "FP32", (-1, -1))
    assert opened({"data": [{"m": {"b64": encoded}}]}, one).tensors[0].shape == (4,)


def test_text_and_raw_elements(opened):
    library = opened({"data": [{"T": ["héllo"]}]}, TEXT)
    assert decode_elements(library.sample(0)[0]) == ["héllo".encode()]
    for raw in (b"\xff\xd8 picture", encode_elements([b"\xff\xd8 picture"])):
        library = opened({"data": [{"T": {"b64": base64.b64encode(raw).decode()}}]}, TEXT)
        assert decode_elements(library.sample(0)[0]) == [b"\xff\xd8 picture"]


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("FP32", [1, 2.5]), ("FP16", [0.5, 1]), ("BOOL", [True, False]), ("BOOL", [0, 1]),
     ("UINT64", [0, 2**64 - 1]), ("INT8", [-128, 127]), ("BF16", [1.0, 2.0])],
)  # fmt: skip
def test_numbers_keep_their_values(opened, datatype, values):
    library = opened({"data": [{"X": values}]}, TensorSpec("X", datatype, (-1, 2)))
    assert library.total_sample_count == 1
    assert len(library.sample(0)[0]) == library.tensors[0].size_bytes


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([1, 2, 3], r"sample 0 input 'X': 3 values, INT32 \[2,2\] needs 4"),
        ([1, 2, 3, 4.5], "values must be numbers of INT32"),
        ([1, 2, 3, "4"], "values must be numbers of INT32"),
        ([1, 2, 3, None], "values must be numbers of INT32"),
        ([1, 2, 3, 2**31], "a value is outside INT32"),
        ([1, 2, 3, 2**80], "a value is outside INT32"),
        ([[1, 2], [3]], "nested lists must be of equal lengths"),
        ({"shape": [2, 2]}, 'must have "content" or "b64"'),
        ({"content": VALUES, "shape": [4]}, r"shape \[4\] does not fit INT32 \[2,2\]"),
        ({"content": VALUES, "shape": "4"}, "shape must be a list"),
        ({"content": VALUES, "shape": [-1]}, "shape must be a list"),
        ({"content": VALUES, "shape": [0, 2]}, "does not fit"),
        ({"b64": "###"}, "its b64 is not base64"),
        ({"b64": 5}, "its b64 is not base64"),
        ({"b64": "AAAA"}, r"b64 of 3 bytes, INT32 \[2,2\] needs 16"),
    ],
)
def test_a_wrong_value_names_file_sample_and_input(opened, value, line):
    with pytest.raises(UserError, match=line) as caught:
        opened({"data": [{"X": value}]})
    assert "in.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        ([], r'is not \{"data"'),
        ({}, r'is not \{"data"'),
        ({"data": {}}, r'is not \{"data"'),
        ({"data": []}, "must list one object"),
        ({"data": [3]}, "must list one object"),
        ({"data": [{"Y": VALUES}]}, "input 'X': missing; it has 'Y'"),
        ({"data": [{}]}, "input 'X': missing; it has none"),
    ],
)
def test_a_file_of_another_form_is_named(opened, document, line):
    with pytest.raises(UserError, match=line):
        opened(document)


def test_texts_only_for_bytes(opened):
    for value in ([1], [["a"], ["b", "c"]], [None]):
        with pytest.raises(UserError, match="values must be text for BYTES"):
            opened({"data": [{"T": value}]}, TEXT)


def test_without_metadata_a_shape_is_needed(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(json.dumps({"data": [{"X": VALUES}]}))
    with pytest.raises(SutError, match=r"in\.json has no datatypes: give --shape"):
        open_library(Settings(dataset=str(path)), [], True)
    library = open_library(Settings(dataset=str(path), shape=["X:INT32:-1,4"]), [], True)
    assert library.sample(0) == (RAW,)
