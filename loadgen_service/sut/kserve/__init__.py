"""KServe v2 requests and responses, in protobuf and in JSON.

In: tensors. Out: request bytes; from responses, outputs and server timings.
May import: sut's own modules, core and errors.
"""
