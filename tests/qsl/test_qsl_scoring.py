"""Scoring: every form of a response, against counts made by hand and by numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen_service.errors import RunError
from loadgen_service.qsl.scoring import (
    TopScorer,
    output_arrays,
    sample_rows,
    score_top,
    top_classes,
)
from loadgen_service.qsl.tensors import DTYPES, encode

FIELDS = {
    "BOOL": "bool_contents", "UINT8": "uint_contents", "INT16": "int_contents",
    "UINT64": "uint64_contents", "INT64": "int64_contents", "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}  # fmt: skip


def response(*outputs, raw=True) -> bytes:
    """A serialised answer of (name, datatype, array) outputs."""
    message = service_pb2.ModelInferResponse(model_name="m")
    for name, datatype, array in outputs:
        array = np.asarray(array)
        tensor = message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            message.raw_output_contents.append(encode(array, datatype))
        else:
            getattr(tensor.contents, FIELDS[datatype]).extend(array.ravel().tolist())
    return message.SerializeToString()


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", sorted(FIELDS))
def test_raw_and_typed_contents_read_alike(datatype, raw):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(DTYPES[datatype])
    decoded = output_arrays(response(("x", datatype, array), raw=raw))["x"]
    assert decoded.dtype == DTYPES[datatype]
    assert decoded.tolist() == array.tolist()


def test_bfloat16_comes_as_float():
    decoded = output_arrays(response(("x", "BF16", [1.0, -2.5])))["x"]
    assert decoded.tolist() == [1.0, -2.5]


def test_text_outputs_are_bytes():
    array = np.array(["a", "bc"], object)
    assert output_arrays(response(("x", "BYTES", array)))["x"].tolist() == [b"a", b"bc"]


def test_a_response_that_is_none_is_one_line():
    with pytest.raises(RunError, match="no ModelInferResponse"):
        output_arrays(b"\xff\xff\xff")


@pytest.mark.parametrize("raw", [b"", b"abc", bytes(8), bytes(16)])
def test_contents_that_do_not_fill_the_shape_are_named(raw):
    message = service_pb2.ModelInferResponse()
    message.outputs.add(name="x", datatype="FP32", shape=[1, 3])
    message.raw_output_contents.append(raw)
    with pytest.raises(RunError, match=r"output 'x': its contents do not fill FP32 \[1, 3\]"):
        output_arrays(message.SerializeToString())


def test_an_unknown_datatype_is_named():
    message = service_pb2.ModelInferResponse()
    message.outputs.add(name="x", datatype="FOO", shape=[1])
    with pytest.raises(RunError, match="do not fill FOO"):
        output_arrays(message.SerializeToString())


@given(st.integers(1, 6), st.integers(2, 12), st.randoms(use_true_random=False))
def test_top_classes_are_the_largest_scores(count, class_count, random):
    rows = np.array([[random.random() for _ in range(class_count)] for _ in range(count)])
    best = top_classes(rows)
    assert best.shape == (count, min(5, class_count))
    assert best[:, 0].tolist() == rows.argmax(axis=1).tolist()
    for row, classes in zip(rows, best, strict=True):
        assert sorted(row)[::-1][: len(classes)] == row[classes].tolist()


def test_equal_scores_give_the_lower_class_and_nan_never_wins():
    assert top_classes(np.array([[1.0, 1.0, np.nan, 0.5]])).tolist() == [[0, 1, 3, 2]]


def test_batched_responses_count_every_sample():
    logits = np.eye(6)
    scores = score_top(
        np.array([0, 1, 2, 3, 9, -1]), [([0, 1, 5], response(("logits", "FP32", logits[:3]))),
                                        ([3, 4], response(("logits", "FP32", logits[3:5])))],
    )  # fmt: skip
    assert scores == {"top1": 0.75, "top5": 0.75, "count": 4.0}


def test_top5_finds_the_label_behind_the_first():
    logits = np.array([[5.0, 4, 3, 2, 1, 0, -1]])
    scores = {
        label: score_top(np.array([label]), [([0], response(("logits", "FP32", logits)))])
        for label in (0, 4, 5)
    }
    assert [scores[label]["top1"] for label in (0, 4, 5)] == [1, 0, 0]
    assert [scores[label]["top5"] for label in (0, 4, 5)] == [1, 1, 0]


def test_a_class_instead_of_scores_has_no_top5():
    answer = response(("class", "INT64", np.array([[3], [4]])))
    assert score_top(np.array([3, 3]), [([0, 1], answer)]) == {"top1": 0.5, "count": 2.0}


def test_the_output_named_logits_is_scored_among_several():
    answer = response(
        ("embedding", "FP32", np.ones((1, 8))),
        ("text", "BYTES", np.array(["x"], object)),
        ("logits", "FP32", np.array([[0.0, 1]])),
    )
    assert score_top(np.array([1]), [([0], answer)])["top1"] == 1.0


def test_a_missing_answer_is_a_wrong_one():
    scorer = TopScorer(np.array([0, 1, -1]))
    scorer.add([0], response(("logits", "FP32", np.array([[1.0, 0]]))))
    scorer.miss([1, 2])
    assert scorer.result()["top1"] == 0.5
    assert scorer.result()["count"] == 2


def test_nothing_scored_is_no_score():
    assert TopScorer(np.array([1])).result() == {}


def test_outputs_that_do_not_divide_are_named():
    with pytest.raises(RunError, match=r"shape \[3, 1\] does not divide by 2 samples"):
        sample_rows(np.zeros((3, 1)), 2)
    with pytest.raises(RunError, match="no output of numbers"):
        score_top(np.array([0]), [([0], response(("t", "BYTES", np.array(["x"], object))))])
