"""The first batch costs more than those after it: memory is fetched, code is compiled.

So a model may run one of zeros before anybody asks it something.
"""

from __future__ import annotations

from concurrent.futures import Executor, wait
from threading import Barrier
from typing import Final

import numpy as np

from sut_server.errors import CallError, UsageError, described
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
    limit_s: float = WARM_UP_S,
) -> None:
    """Run a batch of ``rows`` zeros on each of the threads, and check what comes of it.

    Raises UsageError for an input of open length, and for a model that fails, gives outputs other
    than it declares, or does not end within ``limit_s``.
    """
    batch = zeros(model.spec, rows)
    each_has_one = Barrier(thread_count, timeout=limit_s)

    def once() -> None:
        each_has_one.wait()
        checked_outputs(model.infer(batch), model.spec, rows)

    ended, late = wait([threads.submit(once) for _ in range(thread_count)], limit_s)
    what = f"--warm-up: model '{model.spec.name}'"
    if late:
        raise UsageError(f"{what} has not ended its batch of zeros in {limit_s:g} s")
    for error in filter(None, [done.exception() for done in ended]):
        text = error.text if isinstance(error, CallError) else described(error)
        raise UsageError(f"{what} does not run on zeros: {' '.join(text.split())}")


def zeros(spec: ModelSpec, rows: int) -> dict[str, Array]:
    """``rows`` samples of zeros (BYTES: empty), read-only; one where the model has no batches."""
    return {tensor.name: _zeros(tensor, spec, rows) for tensor in spec.inputs}


def _zeros(tensor: TensorSpec, spec: ModelSpec, rows: int) -> Array:
    shape = (rows, *tensor.shape[1:]) if spec.is_batched else tensor.shape
    if -1 in shape:
        raise UsageError(
            f"--warm-up: input '{tensor.name}' of model '{spec.name}' has an open length in "
            f"{list(tensor.shape)}; send the model its first requests yourself"
        )
    array = np.zeros(shape, dtype=DTYPES[tensor.datatype])
    if tensor.datatype == "BYTES":
        array.fill(b"")
    array.flags.writeable = False
    return array
