"""Random and zero samples, made from the server's metadata alone; and bare sample numbers.

Sample i of a seed is the same on every host and whatever was made before: its bits come from
Philox with the seed and tensor as key and the sample as counter.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.qsl.tensors import BYTES, DTYPES, Array, TensorSpec, encode

DEFAULT_TOTAL_COUNT: Final = 1024
DEFAULT_TOTAL_BYTES: Final = 64 << 20
"""A default random set stops growing here: it is made before every first run."""
DEFAULT_LEAST_COUNT: Final = 16

SAMPLE_INDEX_INPUT: Final = "mlperf_sample_index"
"""A sole input of this name takes the sample's number: the SUT has the data.

See docs/how-to/binding.md.
"""

TEXT_WORD_COUNT: Final = 2
"""A random BYTES element is 16 hexadecimal letters: two 32-bit words."""

INTEGER_BITS: Final = {"BOOL": 1, "UINT8": 8}
"""Random bits of an integer element; others get 7, so that they are small, never negative, and
valid as token or row numbers of almost any model."""


def open_made(settings: Settings, wanted: tuple[TensorSpec, ...]) -> MadeData:
    """Random or zero data. Raises SutError if a shape is not known whole."""
    if not wanted:
        raise SutError("the server's metadata lists no inputs: give --shape NAME:DATATYPE:DIM,DIM")
    for spec in wanted:
        if spec.is_open:
            raise SutError(
                f"input {spec.name!r} is {spec} at the server: give its open lengths with "
                f"--shape {spec.name}:{spec.datatype}:DIM,DIM"
            )
    if [spec.name for spec in wanted] == [SAMPLE_INDEX_INPUT]:
        return MadeData("index", wanted, settings.total_sample_count or DEFAULT_TOTAL_COUNT, 0)
    size_bytes = sum(spec.size_bytes or 20 * spec.element_count for spec in wanted)
    fitting = DEFAULT_TOTAL_BYTES // max(1, size_bytes)
    count = min(DEFAULT_TOTAL_COUNT, max(DEFAULT_LEAST_COUNT, fitting))
    return MadeData(
        settings.dataset, wanted, settings.total_sample_count or count, settings.data_seed
    )


class MadeData:
    """``name`` is random, zeros or index (each sample is its own number)."""

    labels: Array | None = None
    preprocesses = False

    def __init__(self, name: str, tensors: tuple[TensorSpec, ...], count: int, seed: int) -> None:
        self.name = name
        self.tensors = tensors
        self.count = count
        self._seed = seed

    def sample(self, index: int) -> tuple[bytes, ...]:
        if self.name == "zeros":
            return tuple(_zeros(spec) for spec in self.tensors)
        if self.name == "index":
            return (encode(np.array([index]), self.tensors[0].datatype),)
        return tuple(self._random(spec, at, index) for at, spec in enumerate(self.tensors))

    def content_hash(self) -> str:
        # Sizes and names of the tensors are hashed by the library.
        if self.name == "random":
            return f"random-1:{self._seed}"
        return f"{self.name}-1"

    def _random(self, spec: TensorSpec, tensor_index: int, sample_index: int) -> bytes:
        words_each = TEXT_WORD_COUNT if spec.datatype == BYTES else 1
        words = _words(self._seed, tensor_index, sample_index, spec.element_count * words_each)
        return _from_words(words, spec.datatype)


def _zeros(spec: TensorSpec) -> bytes:
    # A BYTES element of length 0 is four zero bytes.
    return bytes(4 * spec.element_count if spec.size_bytes is None else spec.size_bytes)


def _words(seed: int, tensor_index: int, sample_index: int, count: int) -> Array:
    """``count`` random uint32."""
    key = np.array([seed % 2**64, tensor_index], np.uint64)
    counter = np.array([0, 0, 0, sample_index], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw((count + 1) // 2)
    return raw.astype("<u8").view("<u4")[:count]


def _from_words(words: Array, datatype: str) -> bytes:
    if datatype == BYTES:
        pairs = words.reshape(-1, TEXT_WORD_COUNT).tolist()
        return encode(np.array([f"{a:08x}{b:08x}" for a, b in pairs], object), BYTES)
    if datatype in ("FP16", "FP32", "FP64", "BF16"):
        # 10 bits are exact in FP16, 24 in FP32; all in [0, 1).
        bits = {"FP16": 10, "BF16": 7}.get(datatype, 24)
        return encode((words >> np.uint32(32 - bits)) * 2.0**-bits, datatype)
    shift = np.uint32(32 - INTEGER_BITS.get(datatype, 7))
    return (words >> shift).astype(DTYPES[datatype]).tobytes()
