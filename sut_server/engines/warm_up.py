"""The first batch costs more than those after it: memory is fetched, code is compiled.

So a model may run one of zeros, or of a sample, before anybody asks it something.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, wait
from pathlib import Path
from threading import Barrier
from typing import Final

import numpy as np

from sut_server.errors import CallError, HangError, UsageError, described
from sut_server.messages.infer import checked_outputs
from sut_server.models.spec import Model, ModelSpec
from sut_server.models.tensors import DTYPES, Array, TensorSpec

WARM_UP_S: Final = 600.0
"""Compiling for a device may take minutes; a model that takes longer is taken to hang."""


def warm_up(
    model: Model,
    rows: int,
    threads: Executor,
    thread_count: int,
    batch: Mapping[str, Array] | None = None,
    limit_s: float = WARM_UP_S,
) -> None:
    """Run a batch of ``rows`` (of zeros if none is given) on each thread, and check what comes.

    Raises UsageError for an input of open length, and for a model that fails, gives outputs other
    than it declares, or does not end within ``limit_s``.
    """
    what = f"--warm-up: model '{model.spec.name}'"
    of = "of zeros" if batch is None else "of the sample"
    run = zeros(model.spec, rows) if batch is None else batch
    each_has_one = Barrier(thread_count, timeout=limit_s)

    def once() -> None:
        each_has_one.wait()
        checked_outputs(model.infer(run), model.spec, rows)

    ended, late = wait([threads.submit(once) for _ in range(thread_count)], limit_s)
    if late:
        raise HangError(f"{what} has not ended its batch {of} in {limit_s:g} s")
    for error in filter(None, [done.exception() for done in ended]):
        text = error.text if isinstance(error, CallError) else described(error)
        raise UsageError(f"{what} does not run on a batch {of}: {' '.join(text.split())}")


def warm_up_batch(spec: ModelSpec, rows: int, path: Path) -> dict[str, Array] | None:
    """``rows`` times the sample of a file; None for the empty path, which is zeros.

    ``.npz``: an array an input, without the batch dimension; ``.npy``: that of the only input; any
    other file: its bytes are the only input's element (BYTES) or its numbers. Raises UsageError.
    """
    if path == Path():
        return None
    what = f"--warm-up {path}: model '{spec.name}'"
    try:
        arrays = _sample(spec, path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{what}: {described(error)}") from None
    if set(arrays) != {tensor.name for tensor in spec.inputs}:
        names = [tensor.name for tensor in spec.inputs]
        raise UsageError(f"{what} takes the inputs {names}; the file has {sorted(arrays)}")
    return {
        tensor.name: _repeated(arrays[tensor.name], tensor, spec, rows, what)
        for tensor in spec.inputs
    }


def _sample(spec: ModelSpec, path: Path) -> dict[str, Array]:
    """Arrays by input. Raises OSError or ValueError."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    if len(spec.inputs) != 1:
        raise ValueError("it has several inputs: give an .npz with an array for each")
    (tensor,) = spec.inputs
    if path.suffix == ".npy":
        return {tensor.name: np.load(path, allow_pickle=False)}
    content = path.read_bytes()
    shape = tensor.shape[1:] if spec.is_batched else tensor.shape
    if tensor.datatype == "BYTES":
        array = np.empty(1, dtype=np.object_)
        array[0] = content
    else:
        array = np.frombuffer(content, dtype=DTYPES[tensor.datatype])
    return {tensor.name: array.reshape(shape)}


def _repeated(sample: Array, tensor: TensorSpec, spec: ModelSpec, rows: int, what: str) -> Array:
    array = np.repeat(sample[None], rows, axis=0) if spec.is_batched else sample
    if not tensor.accepts(array.shape):
        raise UsageError(
            f"{what}: its input '{tensor.name}' has the shape {list(tensor.shape)}, the sample "
            f"{list(sample.shape)}"
        )
    if array.dtype != DTYPES[tensor.datatype]:
        raise UsageError(
            f"{what}: its input '{tensor.name}' is {tensor.datatype}, the sample {array.dtype}"
        )
    array.flags.writeable = False
    return array


def zeros(spec: ModelSpec, rows: int) -> dict[str, Array]:
    """``rows`` samples of zeros (BYTES: empty), read-only; one where the model has no batches."""
    return {tensor.name: _zeros(tensor, spec, rows) for tensor in spec.inputs}


def _zeros(tensor: TensorSpec, spec: ModelSpec, rows: int) -> Array:
    shape = (rows, *tensor.shape[1:]) if spec.is_batched else tensor.shape
    if -1 in shape:
        raise UsageError(
            f"--warm-up: input '{tensor.name}' of model '{spec.name}' has an open length in "
            f"{list(tensor.shape)}; name a file with a sample: --warm-up FILE"
        )
    array = np.zeros(shape, dtype=DTYPES[tensor.datatype])
    if tensor.datatype == "BYTES":
        array.fill(b"")
    array.flags.writeable = False
    return array
