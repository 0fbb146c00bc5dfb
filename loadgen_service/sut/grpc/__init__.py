"""KServe v2 over our gRPC client, and over grpc.aio beside it.

In: payload bytes. Out: stamped responses through the SUT interface.
May import: sut's own modules, core, grpc_wire and errors.
"""
