"""gRPC front: connections, calls, request cache, metadata.

In: HTTP/2 bytes. Out: calls to engines and their responses.
May import: sut_server's own modules, grpc_wire and the protobuf stubs.
"""
