"""KServe messages read in place: inputs, raw contents, shared memory, sequences.

In: protobuf bytes. Out: tensors and parameters.
May import: sut_server's errors and models.
"""
