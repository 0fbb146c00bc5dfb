"""Runs inside Triton's Python backend: the digits; model.onnx lies beside this file."""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What Triton calls: once to load, then with every batch of requests that it has joined."""

    def initialize(self, args):
        """Load the model; the parameter ``slow_s`` makes one that is soon overloaded."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(__file__).parent / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options)
        parameters = json.loads(args["model_config"])["parameters"]
        self._slow_s = float(parameters["slow_s"]["string_value"])

    def execute(self, requests):
        """Answer ``requests`` in their order, with one run of the model over all of them."""
        inputs = [triton.get_input_tensor_by_name(r, "input").as_numpy() for r in requests]
        logits = self._session.run(["logits"], {"input": np.concatenate(inputs)})[0]
        time.sleep(self._slow_s)
        ends = np.cumsum([len(one) for one in inputs])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("logits", part)])
            for part in np.split(logits, ends)
        ]
