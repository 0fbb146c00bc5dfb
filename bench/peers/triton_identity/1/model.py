"""Gives each input back: the least that a model of Triton's Python backend can do."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One answer a request, in batches as the server makes them."""

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "output", pb_utils.get_input_tensor_by_name(one, "input").as_numpy()
                    )
                ]
            )
            for one in requests
        ]
