"""Record columns: layout, codec, and rows by query.

In: request columns of workers. Out: columns by query, sample, token and sequence.
May import: core's own modules; stays pure.
"""
