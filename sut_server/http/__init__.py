"""HTTP front: KServe v2 REST and OpenAI's API.

In: HTTP requests. Out: calls to engines and their responses.
May import: sut_server's own modules.
"""
