"""Record log of a worker: rows, tokens, kept responses, spill files.

In: stamps of the issue loop. Out: sealed batches of columns.
May import: worker's own modules, core, sut, errors and the protobuf stubs.
"""
