"""The digits as a class for ``sut-server``: a model whose every batch takes its time."""

from __future__ import annotations

import os
import time

import onnxruntime

from sut_server.models.zoo import onnx_path


class SlowDigits:
    """``digits-slow``: the real model after SLOW_S seconds."""

    name = "digits-slow"
    inputs = (("input", "FP32", (-1, 64)),)
    outputs = (("logits", "FP32", (-1, 10)),)

    def load(self) -> None:
        """Read the model."""
        self._slow_s = float(os.environ["SLOW_S"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(onnx_path("digits")), options)

    def infer(self, batch):
        """Logits of a batch."""
        time.sleep(self._slow_s)
        return {"logits": self._session.run(["logits"], {"input": batch["input"]})[0]}
