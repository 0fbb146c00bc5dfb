"""HTTP/1.1 client: connections, pool, SSE, compression.

In: request bytes. Out: stamped responses through the SUT interface.
May import: sut's own modules, core and errors.
"""
