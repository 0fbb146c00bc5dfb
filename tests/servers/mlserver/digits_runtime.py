"""Runs inside MLServer: the digits as a model of its own; parameters come from model-settings."""

import time

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Digits(MLModel):
    """An ONNX file, one request at a time."""

    async def load(self) -> bool:
        """Read the file that ``uri`` names."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload):
        """Answer one request; what does not fit is ONNX Runtime's own error."""
        pixels = NumpyCodec.decode_input(payload.inputs[0])
        logits = self._session.run(["logits"], {"input": pixels})[0]
        time.sleep(self.settings.parameters.extra["slow_s"])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)]
        )
