"""Stream of record batches to the collector.

In: sealed batches. Out: acknowledged batches, or a spill file.
May import: worker's own modules, core, errors and the protobuf stubs.
"""
