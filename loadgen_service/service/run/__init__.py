"""Life of a run: lease workers, prepare, start, watch, end, recover.

In: settings. Out: complete records and a final state.
May import: service's own modules, core, qsl and the protobuf stubs.
"""
