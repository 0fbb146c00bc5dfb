"""gRPC over HTTP/2 without I/O: bytes in, events and bytes out. No clock, loop, socket or log.

``client.ClientConnection`` and ``server.ServerConnection`` are the two halves of the wire;
``headers`` makes ready request blocks and ``messages`` ready messages. See docs/reference/wire.md.
"""
