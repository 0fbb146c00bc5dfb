"""Runs inside Triton's Python backend: a decoupled model of known gaps.

Each request gets ``tokens`` answers: the first ``first_s`` after its start, each further one
``gap_s`` after the one before, by absolute instants. One request at a time.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args):
        """Read the gaps from the configuration."""
        said = json.loads(args["model_config"])["parameters"]
        self._tokens, self._first_s, self._gap_s = (
            float(said[name]["string_value"]) for name in ("tokens", "first_s", "gap_s")
        )

    def execute(self, requests):
        """Stream each request's tokens; an input below zero fails half way."""
        for request in requests:
            self._stream(request, request.get_response_sender())

    def _stream(self, request, sender):
        fails = triton.get_input_tensor_by_name(request, "input").as_numpy().ravel()[0] < 0
        due_s = time.monotonic() + self._first_s
        for number in range(int(self._tokens)):
            time.sleep(max(0.0, due_s - time.monotonic()))
            if request.is_cancelled():
                break
            if fails and number == self._tokens // 2:
                sender.send(triton.InferenceResponse(error=triton.TritonError("fails half way")))
                break
            token = triton.Tensor("token", np.array([[number]], np.int32))
            sender.send(triton.InferenceResponse([token]))
            due_s += self._gap_s
        sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
