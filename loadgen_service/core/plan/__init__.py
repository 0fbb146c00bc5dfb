"""Plan: due times, samples and SUT of every query, from seeds.

In: settings. Out: int64 columns in blocks, and their hashes.
May import: core's own modules; stays pure.
"""
