"""perf_analyzer's --input-data JSON: ``{"data": [{INPUT: values}, ...]}``.

Values are a list (row-major, flat or nested), ``{"content": [...], "shape": [...]}`` or
``{"b64": "..."}`` for raw bytes. A list of lists (perf_analyzer's streams) is read in order as one
data set; ``validation_data`` is not used.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen_service.errors import SutError, UserError
from loadgen_service.qsl.input_specs import fits, fitted_shape
from loadgen_service.qsl.tensors import (
    ANY_LENGTH,
    BYTES,
    DTYPES,
    Array,
    TensorSpec,
    decode_elements,
    encode,
    encode_elements,
)

SHAPE_KEY: Final = "shape"
CONTENT_KEY: Final = "content"
BASE64_KEY: Final = "b64"
Given = tuple[tuple[int, ...], bytes]
"""Shape and raw bytes of one tensor of one sample."""

Step = tuple[str, dict[str, Any]]
"""Where a sample's inputs were read, for error lines; and the inputs by name."""

FLOATS: Final = ("FP16", "FP32", "FP64", "BF16")


def open_input_data(path: Path, wanted: Sequence[TensorSpec]) -> InputData:
    """The samples of a JSON file, all converted now. Raises UserError naming the sample and input.

    Raises SutError where datatypes are unknown: JSON has none of its own.
    """
    if not wanted:
        raise SutError(
            f"the server's metadata lists no inputs and {path.name} has no datatypes: "
            "give --shape NAME:DATATYPE:DIM,DIM"
        )
    steps = [(f"dataset: {path} sample {number}", step) for number, step in enumerate(_steps(path))]
    return input_data(path.name, steps, wanted)


def input_data(name: str, steps: Sequence[Step], wanted: Sequence[TensorSpec]) -> InputData:
    """Samples of steps, all converted now. Raises UserError naming the step's place and input.

    Open lengths are each sample's own; an optional input may be missing from any of them.
    """
    samples = [tuple(_given(place, step, spec) for spec in wanted) for place, step in steps]
    return InputData(name, tuple(wanted), samples)


def _given(place: str, step: dict[str, Any], spec: TensorSpec) -> Given | None:
    """One input of one sample; None where it is left out."""
    where = f"{place} input {spec.name!r}"
    if spec.name not in step:
        if spec.optional:
            return None
        raise UserError(f"{where}: missing; it has {', '.join(map(repr, step)) or 'none'}")
    given, raw = _tensor(where, spec, step[spec.name])
    return given.shape, raw


def _steps(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"dataset: cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"dataset: {path} is not JSON: {error}") from error
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise UserError(f'dataset: {path} is not {{"data": [{{INPUT: values}}, ...]}}')
    steps = list(chain.from_iterable(s if isinstance(s, list) else [s] for s in data))
    if not steps or not all(isinstance(step, dict) for step in steps):
        raise UserError(f'dataset: {path}: "data" must list one object of inputs a sample')
    return steps


def _tensor(where: str, spec: TensorSpec, value: Any) -> tuple[TensorSpec, bytes]:
    """The spec with open lengths filled, and the raw bytes of one value. Raises UserError."""
    shape, content = spec.shape, value
    if isinstance(value, dict):
        shape = _shape(where, spec, value.get(SHAPE_KEY))
        if BASE64_KEY in value:
            return _from_base64(where, spec, shape, value[BASE64_KEY])
        if CONTENT_KEY not in value:
            raise UserError(f'{where}: an object must have "content" or "b64"')
        content = value[CONTENT_KEY]
    array = _array(where, spec.datatype, content)
    if any(length < 0 for length in shape):
        shape = _filled(where, spec, shape, array)
    given = TensorSpec(spec.name, spec.datatype, shape)
    if array.size != given.element_count:
        raise UserError(f"{where}: {array.size} values, {given} needs {given.element_count}")
    return given, encode(array, spec.datatype)


def _shape(where: str, spec: TensorSpec, shape: Any) -> tuple[int, ...]:
    if shape is None:
        return spec.shape
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise UserError(f"{where}: shape must be a list of whole numbers from 0 on, not {shape!r}")
    fitted = fitted_shape(tuple(shape), spec.shape)
    if fitted is None:
        raise UserError(f"{where}: shape {shape} does not fit {spec} of the server")
    return fitted


def _filled(where: str, spec: TensorSpec, shape: tuple[int, ...], array: Array) -> tuple[int, ...]:
    """Open lengths from nested lists, or a single open length from the count of values."""
    if array.ndim == len(shape) and fits(array.shape, shape):
        return tuple(map(int, array.shape))
    known = TensorSpec(spec.name, spec.datatype, tuple(n for n in shape if n >= 0)).element_count
    if shape.count(-1) == 1 and known and array.size % known == 0:
        return tuple(array.size // known if length < 0 else length for length in shape)
    raise UserError(f"{where}: {spec} leaves lengths open: give the value a shape")


def _array(where: str, datatype: str, content: Any) -> Array:
    """JSON values as an array that ``encode`` turns into the datatype. Raises UserError."""
    try:
        array = np.array(content, object if datatype == BYTES else None)
        if datatype not in (*FLOATS, BYTES) and array.dtype.kind == "f":
            # numpy makes floats of whole numbers that no single integer type holds.
            array = np.array(content, object)
    except ValueError as error:
        raise UserError(f"{where}: nested lists must be of equal lengths") from error
    if datatype == BYTES:
        return _texts(where, array)
    if datatype in FLOATS:
        return _kept(where, datatype, array, array.dtype.kind in "biuf")
    if datatype == "BOOL":
        zero_or_one = array.dtype.kind in "iu" and bool(np.isin(array, (0, 1)).all())
        return _kept(
            where, datatype, array, zero_or_one or array.dtype.kind == "b" or not array.size
        )
    return _whole_numbers(where, datatype, array)


def _texts(where: str, array: Array) -> Array:
    if not all(isinstance(element, str) for element in array.ravel().tolist()):
        raise UserError(f"{where}: values must be text for BYTES")
    try:
        "".join(array.ravel().tolist()).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: a text has a lone surrogate, which UTF-8 cannot carry; give it as b64"
        ) from None
    return array


def _kept(where: str, datatype: str, array: Array, is_right: bool) -> Array:
    if not is_right:
        raise UserError(f"{where}: values must be numbers of {datatype}")
    return array


def _whole_numbers(where: str, datatype: str, array: Array) -> Array:
    is_whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "O" and all(type(element) is int for element in array.ravel().tolist())
    )
    _kept(where, datatype, array, is_whole)
    limits = np.iinfo(DTYPES[datatype])
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise UserError(f"{where}: a value is outside {datatype}")
    return array.astype(DTYPES[datatype])


def _from_base64(
    where: str, spec: TensorSpec, shape: tuple[int, ...], text: Any
) -> tuple[TensorSpec, bytes]:
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UserError(f"{where}: its b64 is not base64") from error
    if spec.datatype == BYTES:
        return _bytes_element(where, spec, shape, raw)
    if any(length < 0 for length in shape):
        flat = np.empty(len(raw) // DTYPES[spec.datatype].itemsize, np.int8)
        shape = _filled(where, spec, shape, flat)
    given = TensorSpec(spec.name, spec.datatype, shape)
    if len(raw) != given.size_bytes:
        raise UserError(f"{where}: b64 of {len(raw)} bytes, {given} needs {given.size_bytes}")
    return given, raw


def _bytes_element(
    where: str, spec: TensorSpec, shape: tuple[int, ...], raw: bytes
) -> tuple[TensorSpec, bytes]:
    """One BYTES element; or several where the bytes are already serialised to that count."""
    given = TensorSpec(spec.name, BYTES, tuple(1 if n < 0 else n for n in shape))
    elements = decode_elements(raw)
    if elements is not None and len(elements) == given.element_count:
        return given, raw
    if given.element_count != 1:
        raise UserError(f"{where}: b64 is one element, {given} needs {given.element_count}")
    return given, encode_elements([raw])


class InputData:
    """Samples as bytes in memory, as the file gave them: each with shapes of its own."""

    preprocesses = False
    labels: Array | None = None

    def __init__(
        self,
        name: str,
        wanted: tuple[TensorSpec, ...],
        samples: list[tuple[Given | None, ...]],
    ) -> None:
        """``samples``: for each, shape and bytes of every tensor in ``wanted``'s order."""
        self.name = name
        self.count = len(samples)
        self._samples = samples
        columns = zip(*samples, strict=True)
        self.tensors = tuple(
            _spec_of_all(spec, column) for spec, column in zip(wanted, columns, strict=True)
        )

    def sample(self, index: int) -> tuple[bytes | None, ...]:
        return tuple(None if given is None else given[1] for given in self._samples[index])

    def shapes(self, index: int) -> tuple[tuple[int, ...] | None, ...]:
        """Shape of each tensor of a sample; None where it is left out."""
        return tuple(None if given is None else given[0] for given in self._samples[index])

    def content_hash(self) -> str:
        digest = sha256(b"input-data-1|")
        for tensors in self._samples:
            for spec, given in zip(self.tensors, tensors, strict=True):
                digest.update(sha256(given[1]).digest() if given else b"left out")
                if given and spec.is_open:
                    digest.update(f"{given[0]}|".encode())
        return digest.hexdigest()


def _spec_of_all(spec: TensorSpec, column: tuple[Given | None, ...]) -> TensorSpec:
    """``spec`` with the lengths that all samples share; -1 where they differ."""
    shapes = {given[0] for given in column if given is not None}
    lengths = (set(lengths) for lengths in zip(*shapes, strict=True))
    shape = tuple(one.pop() if len(one) == 1 else ANY_LENGTH for one in lengths)
    return replace(spec, shape=shape if shapes else spec.shape)
