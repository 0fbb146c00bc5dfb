"""Outputs that came as typed contents, the other form that KServe v2 has beside raw bytes."""

from __future__ import annotations

from typing import Final

import numpy as np
from tritonclient.grpc import service_pb2

from loadgen_service.qsl.tensors import BYTES, DTYPES, Array

_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Field of InferTensorContents that holds each datatype (FP16 and BF16 have none)."""


def typed_values(output: service_pb2.ModelInferResponse.InferOutputTensor) -> Array | None:
    """Elements of an output in its own datatype, flat; objects of ``bytes`` for BYTES.

    None for datatypes that have no typed contents.
    """
    field = _CONTENTS.get(output.datatype)
    if field is None:
        return None
    values = list(getattr(output.contents, field))
    try:
        return np.array(values, object if output.datatype == BYTES else DTYPES[output.datatype])
    except OverflowError:  # an int32 on the wire that its UINT8 has no room for
        return None
