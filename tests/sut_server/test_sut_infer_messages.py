"""ModelInfer's messages: what is accepted, what is refused and how, and answers as bytes."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2

from sut_server.errors import CallError, Code
from sut_server.messages.infer import (
    ResponseEncoder,
    Timings,
    checked_outputs,
    decode_request,
    varint,
)
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import DTYPES, TensorSpec, from_raw, to_raw

SPEC = ModelSpec(
    "twins",
    "test",
    (TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "INT64", (-1, -1))),
    (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("z", "BYTES", (-1,))),
)
SINGLE = ModelSpec(
    "single", "test", (TensorSpec("x", "FP32", (2, 2)),), (TensorSpec("y", "FP32", (2,)),)
)
A = np.arange(6, dtype="<f4").reshape(2, 3)
B = np.arange(8, dtype="<i8").reshape(2, 4)


def request(**changes: np.ndarray) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(model_name="twins", id="q1")
    for name, array in ({"a": A, "b": B} | changes).items():
        datatype = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


def refusal(message: service_pb2.ModelInferRequest, spec: ModelSpec = SPEC) -> CallError:
    with pytest.raises(CallError) as caught:
        decode_request(message, spec, 8)
    assert "\n" not in caught.value.text
    return caught.value


def test_raw_contents_become_arrays() -> None:
    decoded = decode_request(request(), SPEC, 8)
    assert decoded.request_id == "q1"
    assert decoded.rows == 2
    np.testing.assert_array_equal(decoded.inputs["a"], A)
    np.testing.assert_array_equal(decoded.inputs["b"], B)
    assert decoded.merge_key == ((3,), (4,))


def test_the_order_of_the_inputs_does_not_matter() -> None:
    message = service_pb2.ModelInferRequest(model_name="twins")
    for name, datatype, array in (("b", "INT64", B), ("a", "FP32", A)):
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    assert list(decode_request(message, SPEC, 8).inputs) == ["a", "b"]


def test_typed_contents_become_arrays() -> None:
    message = service_pb2.ModelInferRequest(model_name="twins")
    a = message.inputs.add(name="a", datatype="FP32", shape=A.shape)
    a.contents.fp32_contents.extend(A.ravel())
    b = message.inputs.add(name="b", datatype="INT64", shape=B.shape)
    b.contents.int64_contents.extend(B.ravel())
    decoded = decode_request(message, SPEC, 8)
    np.testing.assert_array_equal(decoded.inputs["a"], A)
    np.testing.assert_array_equal(decoded.inputs["b"], B)


def test_a_model_without_batch_dimension_takes_one_row() -> None:
    message = service_pb2.ModelInferRequest(model_name="single")
    message.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    message.raw_input_contents.append(bytes(16))
    assert decode_request(message, SINGLE, 8).rows == 1


def test_a_wrong_shape_names_the_tensor_and_both_shapes() -> None:
    error = refusal(request(a=np.zeros((2, 4), "<f4")))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.text == "input 'a': shape [-1, 3] wanted, got [2, 4]"


def test_a_negative_length_is_not_a_free_one() -> None:
    message = request()
    del message.raw_input_contents[:]
    message.inputs[0].shape[0] = -1
    assert "got [-1, 3]" in refusal(message).text


def test_a_wrong_type_names_the_tensor_and_both_types() -> None:
    error = refusal(request(a=A.astype("<f8")))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.text == "input 'a': type FP32 wanted, got 'FP64'"


def test_another_version_is_not_found() -> None:
    message = request()
    message.model_version = "7"
    assert refusal(message).code is Code.NOT_FOUND


def test_missing_unknown_and_double_inputs_are_refused() -> None:
    missing = request()
    del missing.inputs[1], missing.raw_input_contents[1]
    unknown = request(c=A)
    double = request()
    double.inputs[1].name = "a"
    for message in (missing, unknown, double):
        assert "takes the inputs ['a', 'b']" in refusal(message).text


def test_raw_contents_must_be_for_all_inputs() -> None:
    message = request()
    del message.raw_input_contents[1]
    assert "2 inputs but 1 raw_input_contents" in refusal(message).text


def test_too_few_bytes_are_refused() -> None:
    message = request()
    message.raw_input_contents[0] = bytes(20)
    assert refusal(message).text == "input 'a': 20 raw bytes, but FP32 [2, 3] takes 24"


def test_batches_that_differ_are_too_large_or_empty_are_refused() -> None:
    assert "differ" in refusal(request(b=B[:1])).text
    large = request(a=np.zeros((9, 3), "<f4"), b=np.zeros((9, 1), "<i8"))
    assert "batch of 9: model 'twins' takes 1 to 8 samples" in refusal(large).text
    empty = request(a=np.zeros((0, 3), "<f4"), b=np.zeros((0, 1), "<i8"))
    assert "batch of 0" in refusal(empty).text


def test_unknown_outputs_are_refused() -> None:
    message = request()
    message.outputs.add(name="nope")
    assert "has the outputs ['y', 'z'], not ['nope']" in refusal(message).text


def test_an_answer_is_one_valid_message_with_timings_and_raw_outputs() -> None:
    decoded = decode_request(request(), SPEC, 8)
    outputs = {"y": np.ones((2, 2), "<f4"), "z": np.array([b"cat", b""], dtype=object)}
    timings = Timings(received_ns=2**62, queue_ns=0, compute_ns=300, sent_ns=2**62 + 1)
    parts = ResponseEncoder(SPEC).encode(decoded, outputs, timings)
    message = service_pb2.ModelInferResponse.FromString(b"".join(parts))
    assert (message.model_name, message.model_version, message.id) == ("twins", "1", "q1")
    assert {name: value.int64_param for name, value in message.parameters.items()} == {
        "received_ns": 2**62,
        "queue_ns": 0,
        "compute_ns": 300,
        "sent_ns": 2**62 + 1,
    }
    assert [(o.name, o.datatype, list(o.shape)) for o in message.outputs] == [
        ("y", "FP32", [2, 2]),
        ("z", "BYTES", [2]),
    ]
    assert message.raw_output_contents[0] == outputs["y"].tobytes()
    assert message.raw_output_contents[1] == b"\x03\0\0\0cat\0\0\0\0"


def test_only_the_wanted_outputs_are_sent() -> None:
    message = request()
    message.outputs.add(name="z")
    decoded = decode_request(message, SPEC, 8)
    outputs = {"y": np.ones((2, 2), "<f4"), "z": np.array([b"cat", b""], dtype=object)}
    parts = ResponseEncoder(SPEC).encode(decoded, outputs, Timings(1, 2, 3, 4))
    answer = service_pb2.ModelInferResponse.FromString(b"".join(parts))
    assert [output.name for output in answer.outputs] == ["z"]
    assert len(answer.raw_output_contents) == 1


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, "gave no array for its output 'y'"),
        (np.ones((3, 2), "<f4"), "the shape [3, 2], declared [2, 2]"),
        (np.ones((2, 2), "<f8"), "the type float64, declared FP32"),
    ],
)
def test_a_model_that_breaks_its_word_is_an_internal_error(output: object, text: str) -> None:
    outputs = {"y": output, "z": np.array([b"a", b"b"], dtype=object)}
    with pytest.raises(CallError, match=r".") as caught:
        checked_outputs(outputs, SPEC, 2)
    assert caught.value.code is Code.INTERNAL
    assert text in caught.value.text


@given(st.integers(0, 2**63 - 1))
def test_varints_are_protobufs(number: int) -> None:
    parameter = service_pb2.InferParameter(int64_param=number)
    if number:
        assert parameter.SerializeToString() == b"\x10" + varint(number)


@given(st.sampled_from(sorted(set(DTYPES) - {"BYTES"})), st.data())
def test_raw_bytes_and_arrays_are_the_same_thing(datatype: str, data: st.DataObject) -> None:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    array = data.draw(hnp.arrays(DTYPES[datatype], shapes))
    raw = to_raw(array)
    assert to_raw(from_raw("x", datatype, array.shape, raw)) == raw


@given(st.lists(st.binary(max_size=9), max_size=6))
def test_bytes_elements_survive_the_raw_form(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    back = from_raw("x", "BYTES", array.shape, to_raw(array))
    assert back.tolist() == elements


@given(st.binary(max_size=40), st.integers(0, 4))
def test_broken_bytes_elements_are_refused_not_read_past_the_end(raw: bytes, count: int) -> None:
    with contextlib.suppress(CallError):
        assert to_raw(from_raw("x", "BYTES", (count,), raw)) == raw
