"""EfficientNet-Lite0 on ONNX Runtime in a bare loop: SECONDS BATCH; samples a second."""

from __future__ import annotations

import sys
import time

import numpy as np
import onnxruntime

from sut_server.models.zoo import onnx_path

if __name__ == "__main__":
    seconds, batch = float(sys.argv[1]), int(sys.argv[2])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(onnx_path("efficientnet-lite0")), options, providers=["CPUExecutionProvider"]
    )
    first = session.get_inputs()[0]
    images = np.random.default_rng(1).random((batch, *first.shape[1:]), dtype=np.float32)
    session.run(None, {first.name: images})
    done, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        session.run(None, {first.name: images})
        done += batch
    print(done / (time.monotonic() - started))
