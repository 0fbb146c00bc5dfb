"""What a picture becomes: the recipes, each a function from a file to one tensor's raw bytes.

Pillow is imported when the first recipe is chosen, so that runs without pictures need none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from loadgen_service.errors import SettingsError, SutError, UserError
from loadgen_service.qsl.input_specs import fitted_shape, mismatch, only_input
from loadgen_service.qsl.tensors import (
    BYTES,
    Array,
    TensorSpec,
    encode,
    encode_elements,
)

if TYPE_CHECKING:
    from PIL.Image import Image

EFFICIENTNET_LITE0: Final = "efficientnet-lite0"
RAW: Final = "raw"

SIDE: Final = 224
CROP_MARGIN: Final = 32
"""EfficientNet's evaluation crop: the centred square of 224 / (224 + 32) of the shorter side."""
CENTRE: Final = 127.0
SCALE: Final = 128.0
"""EfficientNet-Lite's own normalisation, (x - 127) / 128, not ImageNet's mean and deviation."""
CHANNEL_COUNT: Final = 3
FLOATS: Final = ("FP32", "FP16", "BF16", "FP64")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way from a file to a tensor; ``identity`` changes whenever the result would."""

    identity: str
    spec: TensorSpec
    make: Callable[[Path, TensorSpec], bytes]

    def tensor(self, path: Path) -> bytes:
        """Raw bytes. Raises UserError naming a file that is no picture or cannot be read."""
        try:
            return self.make(path, self.spec)
        except OSError as error:
            # Pillow's UnidentifiedImageError and its truncation errors are OSErrors too.
            reason = error.strerror or "it is not a whole picture"
            raise UserError(f"dataset: cannot read {path}: {reason}") from error
        except (
            Exception
        ) as error:  # decoders of broken files and Pillow's size limit raise anything
            raise UserError(f"dataset: {path} is a broken picture: {error}") from error


def choose_recipe(name: str, wanted: Sequence[TensorSpec], dataset: str) -> Recipe:
    """The recipe ``name``, fitted to the model's single input.

    Raises SettingsError for an unknown name, UserError without Pillow, SutError for an input that
    the recipe cannot make.
    """
    if name not in (EFFICIENTNET_LITE0, RAW):
        raise SettingsError(f"preprocess: {name!r} is not {EFFICIENTNET_LITE0} or {RAW}")
    try:
        import PIL.Image
    except ImportError:
        raise UserError(
            "dataset: pictures need the package pillow: pip install 'loadgen-service[demo]'"
        ) from None
    assert PIL.Image
    if name == EFFICIENTNET_LITE0:
        return _efficientnet_lite0(wanted, dataset)
    return _raw(wanted, dataset)


def _efficientnet_lite0(wanted: Sequence[TensorSpec], dataset: str) -> Recipe:
    given = TensorSpec("input", "FP32", (CHANNEL_COUNT, SIDE, SIDE))
    target = only_input(wanted, given, dataset)
    shape = fitted_shape(given.shape, target.shape) or fitted_shape(
        (SIDE, SIDE, CHANNEL_COUNT), target.shape
    )
    if shape is None or target.datatype not in FLOATS:
        remedy = "try --preprocess raw, or choose another --dataset or --model"
        raise mismatch(target, given, f"{dataset} made for efficientnet-lite0", remedy)
    spec = TensorSpec(target.name, target.datatype, shape)
    return Recipe("efficientnet-lite0-1", spec, _lite0_tensor)


def _raw(wanted: Sequence[TensorSpec], dataset: str) -> Recipe:
    """RGB values 0..255 at the size the server wants; whole files where it wants BYTES."""
    if not wanted:
        raise SutError("the server's metadata lists no inputs: give --shape NAME:DATATYPE:DIM,DIM")
    target = only_input(wanted, wanted[0], dataset)
    if target.datatype == BYTES and all(length in (1, -1) for length in target.shape):
        shape = tuple(1 for _ in target.shape)
        return Recipe("file-1", TensorSpec(target.name, BYTES, shape), _file_tensor)
    layout = _layout(target.shape)
    if layout is None or target.is_open or target.datatype in (BYTES, "BOOL", "INT8"):
        raise SutError(
            f"input {target.name!r}: the server expects {target} a sample; pictures give "
            "[3,HEIGHT,WIDTH], [HEIGHT,WIDTH,3] or BYTES [1] (fix open lengths with --shape)"
        )
    return Recipe("raw-1", target, _raw_tensor)


def _layout(shape: tuple[int, ...]) -> str | None:
    """CHW or HWC of a shape, leading 1s aside; None if it is no picture's."""
    lead, last = shape[:-3], shape[-3:]
    if len(last) != 3 or any(length != 1 for length in lead):
        return None
    if last[0] == CHANNEL_COUNT:
        return "CHW"
    return "HWC" if last[2] == CHANNEL_COUNT else None


def _lite0_tensor(path: Path, spec: TensorSpec) -> bytes:
    from PIL import Image

    with Image.open(path) as file:
        picture = file.convert("RGB")
    crop = int(SIDE / (SIDE + CROP_MARGIN) * min(picture.size))
    cropped = _centre(picture, crop, crop)
    pixels = np.asarray(cropped.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return _placed((pixels - np.float32(CENTRE)) / np.float32(SCALE), spec)


def _raw_tensor(path: Path, spec: TensorSpec) -> bytes:
    from PIL import Image

    channels_first = _layout(spec.shape) == "CHW"
    height, width = spec.shape[-2:] if channels_first else spec.shape[-3:-1]
    with Image.open(path) as file:
        picture = file.convert("RGB")
    # The largest centred rectangle of the wanted proportions, so that nothing is stretched.
    scale = min(picture.width / width, picture.height / height)
    cropped = _centre(picture, max(1, int(scale * width)), max(1, int(scale * height)))
    return _placed(
        np.asarray(cropped.resize((width, height), Image.Resampling.BICUBIC), np.uint8), spec
    )


def _file_tensor(path: Path, spec: TensorSpec) -> bytes:
    return encode_elements([path.read_bytes()])


def _centre(picture: Image, width: int, height: int) -> Image:
    left, upper = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, upper, left + width, upper + height))


def _placed(pixels: Array, spec: TensorSpec) -> bytes:
    """[height, width, 3] in the layout and datatype of ``spec``."""
    if _layout(spec.shape) == "CHW":
        pixels = pixels.transpose(2, 0, 1)
    return encode(pixels, spec.datatype)
