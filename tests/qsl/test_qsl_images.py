"""Pictures: the built-in set, folders, label files and the two recipes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError, SutError, UserError
from loadgen_service.qsl import TensorSpec, open_library
from loadgen_service.qsl.tensors import decode_elements

LITE0 = [TensorSpec("image", "FP32", (-1, 3, 224, 224))]


def library(inputs=LITE0, **settings):
    return open_library(Settings(**settings), inputs, True)


@pytest.fixture
def folder(tmp_path):
    """Three pictures, red, green and blue, the last in a folder below."""
    root = tmp_path / "pictures"
    (root / "below").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("b b.png", "lime"), ("below/c.png", "blue")):
        Image.new("RGB", (40, 20), colour).save(root / name)
    (root / "note.txt").write_text("no picture")
    return root


def raw(folder, inputs, **settings):
    return library(inputs, dataset=str(folder), preprocess="raw", **settings)


def test_the_built_in_set_has_twenty_labelled_pictures():
    made = library(dataset="imagenet-sample")
    assert made.total_sample_count == made.performance_sample_count == 20
    assert made.labels[:3].tolist() == [243, 559, 438]
    assert made.tensors == (TensorSpec("image", "FP32", (3, 224, 224)),)


def test_lite0_pixels_are_normalised_and_timed():
    made = library(dataset="imagenet-sample")
    assert made.preprocess_ns is None
    values = np.frombuffer(made.sample(0)[0], "<f4")
    assert values.size == 3 * 224 * 224
    steps = values * 128 + 127
    assert np.array_equal(steps, np.round(steps))
    assert 0 <= steps.min() < steps.max() <= 255
    assert made.preprocess_ns > 0


def test_channels_last_holds_the_same_pixels():
    first = np.frombuffer(library(dataset="imagenet-sample").sample(0)[0], "<f4")
    last = library([TensorSpec("x", "FP32", (-1, 224, 224, 3))], dataset="imagenet-sample")
    pixels = np.frombuffer(last.sample(0)[0], "<f4").reshape(224, 224, 3)
    assert np.array_equal(pixels.transpose(2, 0, 1).ravel(), first)


def test_a_batch_of_one_fixed_at_the_server_is_kept():
    made = open_library(
        Settings(dataset="imagenet-sample"), [TensorSpec("x", "FP32", (1, 3, 224, 224))], False
    )
    assert made.tensors[0].shape == (1, 3, 224, 224)


def test_without_metadata_the_recipe_says_the_tensor():
    assert library([], dataset="imagenet-sample").tensors[0].name == "input"


@pytest.mark.parametrize(
    "tensor",
    [TensorSpec("x", "FP32", (-1, 3, 320, 320)), TensorSpec("x", "UINT8", (-1, 3, 224, 224))],
)
def test_an_unfitting_input_is_named_with_both_shapes(tensor):
    line = r"input 'x': the server expects .* gives FP32 \[3,224,224\]; try --preprocess raw"
    with pytest.raises(SutError, match=line):
        library([tensor], dataset="imagenet-sample")


def test_a_model_of_two_inputs_is_refused():
    with pytest.raises(SutError, match=r"2 inputs \('image', 'y'\)"):
        library([*LITE0, TensorSpec("y", "FP32", (-1,))], dataset="imagenet-sample")


def test_a_folder_is_read_in_order_of_names(folder):
    made = raw(folder, [TensorSpec("x", "UINT8", (-1, 8, 8, 3))])
    assert made.total_sample_count == 3
    assert made.labels is None
    colours = [np.frombuffer(made.sample(i)[0], np.uint8)[:3].tolist() for i in range(3)]
    assert colours == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_raw_keeps_proportions_by_cropping_the_centre(tmp_path):
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (10, 0, 30, 20))
    picture.save(tmp_path / "p.png")
    made = raw(tmp_path, [TensorSpec("x", "FP32", (-1, 3, 10, 10))])
    assert set(np.frombuffer(made.sample(0)[0], "<f4").tolist()) == {255.0}


def test_a_server_that_wants_bytes_gets_whole_files(folder):
    made = raw(folder, [TensorSpec("file", "BYTES", (-1, 1))])
    assert decode_elements(made.sample(0)[0]) == [(folder / "a.png").read_bytes()]


def test_the_recipe_follows_the_models_name(folder):
    made = library(dataset=str(folder), model="my-EfficientNet-Lite0")
    assert np.frombuffer(made.sample(0)[0], "<f4")[0] == 1.0
    made = library(dataset=str(folder), model="other")
    assert np.frombuffer(made.sample(0)[0], "<f4")[0] == 255.0


def test_the_label_file_gives_order_and_classes(folder, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("# comment\n\nbelow/c.png 7\nb b.png\t12\n")
    made = raw(folder, LITE0, labels=str(labels))
    assert made.total_sample_count == 2
    assert made.labels.tolist() == [7, 12]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a.png", "line 1 is not NAME LABEL"),
        ("a.png 1\na.png x", "line 2 is not NAME LABEL"),
        ("a.png -1", "line 1 is not NAME LABEL"),
        ("a.png 99999999999999999999", "line 1 is not NAME LABEL"),
        ("gone.png 1", "line 1: no picture gone.png in"),
        ("# nothing", "names no pictures"),
        ("\udcff", "it is not UTF-8 text"),
    ],
)
def test_a_bad_label_file_is_named(folder, tmp_path, content, line):
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=line):
        raw(folder, LITE0, labels=str(labels))


def test_a_missing_label_file_is_named(folder):
    with pytest.raises(UserError, match=r"labels: cannot read no\.txt: No such file"):
        raw(folder, LITE0, labels="no.txt")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        raw(tmp_path, LITE0)


def test_an_unknown_recipe_is_named(folder):
    with pytest.raises(SettingsError, match="preprocess: 'vgg' is not efficientnet-lite0 or raw"):
        library(dataset=str(folder), preprocess="vgg")


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_a_broken_picture_is_named_in_one_line(folder, damage):
    whole = (folder / "a.png").read_bytes()
    content = {"text": b"no picture", "truncated": whole[:-30], "empty": b""}[damage]
    (folder / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png") as caught:
        raw(folder, LITE0).sample(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        TensorSpec("x", "FP32", (-1, 5, 8, 8)),
        TensorSpec("x", "FP32", (-1, 64)),
        TensorSpec("x", "INT8", (-1, 3, 8, 8)),
        TensorSpec("x", "FP32", (-1, 3, -1, -1)),
    ],
)
def test_raw_refuses_what_is_no_picture(folder, tensor):
    with pytest.raises(SutError, match="input 'x': the server expects"):
        raw(folder, [tensor])


def test_identity_follows_content_and_not_names(folder, tmp_path):
    before = raw(folder, LITE0).dataset_hash
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert raw(moved, LITE0).dataset_hash == before
    Image.new("RGB", (40, 20), "white").save(moved / "a.png")
    assert raw(moved, LITE0).dataset_hash != before
    lite0 = library(dataset=str(moved), preprocess="efficientnet-lite0")
    assert raw(moved, LITE0).dataset_hash != lite0.dataset_hash
