"""A stateful model behind Triton's sequence batcher: the running sum of each sequence."""

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Keeps a sum and a count for each live sequence."""

    def initialize(self, args):
        """No sequence is live."""
        self._live = {}

    def execute(self, requests):
        """Answer ``requests`` in their order; each belongs to another sequence."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        value, start, end, name = (
            int(triton.get_input_tensor_by_name(request, tensor).as_numpy().ravel()[0])
            for tensor in ("input", "START", "END", "ID")
        )
        if not start and name not in self._live:
            error = triton.TritonError(f"sequence {name} is not live")
            return triton.InferenceResponse(error=error)
        total, step = (0, 0) if start else self._live[name]
        self._live[name] = total + value, step + 1
        outputs = [
            triton.Tensor(tensor, np.array([[number]], dtype=np.int64))
            for tensor, number in zip(("sum", "step"), self._live[name], strict=True)
        ]
        if end:
            del self._live[name]
        return triton.InferenceResponse(outputs)
