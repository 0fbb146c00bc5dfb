"""The first batch costs more than those after it: memory is fetched, code is compiled.

So a model may run one of zeros before anybody asks it something.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from sut_server.errors import CallError, UsageError
from sut_server.infer_messages import checked_outputs
from sut_server.models import Model, ModelSpec
from sut_server.tensors import DTYPES, Array, TensorSpec


def warm_up(model: Model, rows: int, threads: Executor, thread_count: int) -> None:
    """Run a batch of ``rows`` zeros on each of the threads, and check what comes of it.

    Raises UsageError for an input of open length, and for a model that fails or gives outputs
    other than it declares.
    """
    batch = zeros(model.spec, rows)

    def once() -> None:
        checked_outputs(model.infer(batch), model.spec, rows)

    name = model.spec.name
    for done in [threads.submit(once) for _ in range(thread_count)]:
        error = done.exception()
        if error is not None:
            text = error.text if isinstance(error, CallError) else repr(error)
            raise UsageError(f"--warm-up: model '{name}' does not run on zeros: {_one_line(text)}")


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


def _one_line(text: str) -> str:
    return " ".join(text.split())
