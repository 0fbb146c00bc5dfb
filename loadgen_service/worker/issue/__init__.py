"""Issue loop: waits for the pacer, sends requests, stamps responses.

In: plan rows and payloads. Out: one record row a request.
May import: worker's own modules, core, sut, qsl and errors.
"""
