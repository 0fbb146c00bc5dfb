"""Collector: record batches in, acknowledgements and live statistics out.

In: RecordBatch messages. Out: stored segments, histograms, counts.
May import: service's own modules, core, errors and the protobuf stubs.
"""
