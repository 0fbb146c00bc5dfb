"""Data that is arrays already: .npz files, and the handwritten digits of scikit-learn's package."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from loadgen_service.errors import UserError
from loadgen_service.qsl.input_specs import fitted_shape, matched, mismatch, names_of, only_input
from loadgen_service.qsl.tensors import BYTES, DTYPES, Array, TensorSpec, encode

LABELS: Final = "labels"
DIGITS_PIXEL_MAX: Final = 16.0
DIGITS_PIXEL_COUNT: Final = 64


def open_digits(wanted: Sequence[TensorSpec]) -> ArrayData:
    """The odd rows of scikit-learn's 1797 digits: those that the built-in model was not trained on.

    Pixels / 16 as FP32, in any shape of 64 elements. Raises UserError, SutError.
    """
    # find_spec of a top-level package runs none of its code.
    spec = find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    paths = [Path(f, "datasets", "data", "digits.csv.gz") for f in folders or ()]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise UserError(
            "dataset: digits needs the package scikit-learn: pip install 'loadgen-service[demo]'"
        )
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")[1::2]
    given = TensorSpec("input", "FP32", (DIGITS_PIXEL_COUNT,))
    target = only_input(wanted, given, "digits")
    shape = _digits_shape(target)
    if target.datatype != "FP32" or prod(shape) != DIGITS_PIXEL_COUNT:
        raise mismatch(target, given, "digits")
    tensor = TensorSpec(target.name, "FP32", shape)
    pixels = (table[:, :-1] / DIGITS_PIXEL_MAX).astype("<f4")
    return ArrayData("digits", {tensor: pixels}, table[:, -1].astype(np.int64))


def _digits_shape(target: TensorSpec) -> tuple[int, ...]:
    """The input's shape with its open lengths chosen for 64 pixels."""
    if target.shape.count(-1) == 1:
        known = prod(length for length in target.shape if length >= 0)
        rest = DIGITS_PIXEL_COUNT // known if known else 0
        return tuple(rest if length < 0 else length for length in target.shape)
    return fitted_shape((DIGITS_PIXEL_COUNT,), target.shape) or target.shape


def open_npz(path: Path, wanted: Sequence[TensorSpec]) -> ArrayData:
    """Arrays named as the model's inputs, samples first; ``labels`` [n] holds classes if present.

    Raises UserError for a file that is not such an .npz, SutError if an array does not fit.
    """
    arrays = _read_npz(path)
    is_input = any(spec.name == LABELS for spec in wanted)
    labels = None if is_input else arrays.pop(LABELS, None)
    given = {name: _spec_of(path, name, array) for name, array in arrays.items()}
    columns: dict[TensorSpec, Array] = {}
    for spec in wanted or given.values():
        if spec.name not in given:
            if spec.optional:
                continue
            raise UserError(
                f"dataset: {path} has no array {spec.name!r} for that input; "
                f"it has {names_of(list(given.values()))}"
            )
        columns[matched(spec, given[spec.name], path.name)] = arrays[spec.name]
    counts = {len(array) for array in columns.values()}
    if len(counts) != 1 or counts == {0}:
        sizes = ", ".join(f"{name} {len(array)}" for name, array in arrays.items()) or "none"
        raise UserError(f"dataset: {path}: arrays need the same count of samples; found {sizes}")
    return ArrayData(path.name, columns, _checked_labels(path, labels, counts.pop()))


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip; save arrays by name with numpy.savez")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"dataset: {path} is not a readable .npz: {error}") from error


def _spec_of(path: Path, name: str, array: Array) -> TensorSpec:
    """Datatype and shape of one sample of an array [n, ...]. Raises UserError."""
    if array.ndim == 0:
        raise UserError(f"dataset: {path}: array {name!r} has no dimension of samples")
    if array.dtype.kind in "SU":
        return TensorSpec(name, BYTES, array.shape[1:])
    plain = array.dtype.newbyteorder("<")
    datatype = next((key for key, dtype in DTYPES.items() if dtype == plain), None)
    if datatype is None:
        raise UserError(f"dataset: {path}: array {name!r} has type {array.dtype}, not a KServe one")
    return TensorSpec(name, datatype, array.shape[1:])


def _checked_labels(path: Path, labels: Array | None, count: int) -> Array | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"dataset: {path}: labels must be {count} whole numbers, "
            f"found {labels.dtype} {list(labels.shape)}"
        )
    return labels.astype(np.int64)


class ArrayData:
    """Samples are rows of arrays in memory."""

    preprocesses = False

    def __init__(
        self, name: str, columns: Mapping[TensorSpec, Array], labels: Array | None
    ) -> None:
        self.name = name
        self.tensors = tuple(columns)
        self.labels = labels
        self._columns = list(columns.values())
        self.count = len(self._columns[0])

    def sample(self, index: int) -> tuple[bytes, ...]:
        pairs = zip(self.tensors, self._columns, strict=True)
        return tuple(encode(column[index], spec.datatype) for spec, column in pairs)

    def content_hash(self) -> str:
        digest = sha256(b"arrays-1|")
        for spec, column in zip(self.tensors, self._columns, strict=True):
            if spec.datatype == BYTES:
                digest.update(encode(column, BYTES))
            else:
                digest.update(np.ascontiguousarray(column, DTYPES[spec.datatype]).tobytes())
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()
