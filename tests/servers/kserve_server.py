"""Runs inside KServe's environment: its model server with the digits, until it is ended.

usage: kserve_server.py ONNX HTTP_PORT GRPC_PORT SLOW_S. It has no option for the address: it
listens on all of them.
"""

from __future__ import annotations

import sys
import time

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class Digits(Model):
    """The ONNX file, one request at a time; ``delay_s`` makes a model that is soon overloaded."""

    def __init__(self, name: str, path: str, delay_s: float) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options)
        self._delay_s = delay_s
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        """Answer one request; what does not fit is ONNX Runtime's own error."""
        pixels = payload.inputs[0].as_numpy()
        logits = self._session.run(["logits"], {"input": pixels})[0]
        time.sleep(self._delay_s)
        output = InferOutput("logits", list(logits.shape), "FP32")
        output.set_data_from_numpy(logits, binary_data=True)
        return InferResponse(payload.id or "", self.name, [output])


def main(path: str, http_port: int, grpc_port: int, slow_s: float) -> None:
    models = [Digits("digits", path, 0.0), Digits("digits-slow", path, slow_s)]
    ModelServer(http_port=http_port, grpc_port=grpc_port, enable_grpc=True, workers=1).start(models)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
