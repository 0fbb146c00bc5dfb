"""An example of a class behind ``sut-server --model python:matrix_model:MatrixModel``.

A layer of a network as plain numpy. Where a device does the work, ``load`` puts the weights there
and ``infer`` copies the batch in, runs, WAITS for the result and copies it out.
"""

from __future__ import annotations

import numpy as np

INPUT_LENGTH = 64
OUTPUT_LENGTH = 10


class MatrixModel:
    """Softmax of one matrix product, for any batch size."""

    name = "matrix"  # optional: the class's name otherwise
    # (name, KServe data type, shape); a leading -1 is the batch dimension and allows batching.
    inputs = (("input", "FP32", (-1, INPUT_LENGTH)),)
    outputs = (("probabilities", "FP32", (-1, OUTPUT_LENGTH)),)

    def load(self) -> None:
        """Called once, before the server is ready: read weights, compile, warm up."""
        random = np.random.default_rng(0)
        shape = (INPUT_LENGTH, OUTPUT_LENGTH)
        self.weights = random.standard_normal(shape, dtype=np.float32)
        self.infer({"input": np.zeros((1, INPUT_LENGTH), dtype=np.float32)})

    def infer(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name, with up to --max-batch rows, read-only; outputs with as many rows."""
        scores = batch["input"] @ self.weights
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return {"probabilities": scores / scores.sum(axis=1, keepdims=True)}

    def load_samples(self, sample_index: list[int]) -> None:
        """Optional, untimed: these samples of the data set are about to be asked."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """Optional: and now no longer."""
