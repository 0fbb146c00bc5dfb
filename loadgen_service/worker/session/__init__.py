"""Session of a worker with its service: hello, prepare, start, report.

In: control messages. Out: prepared series, clock samples, process statistics.
May import: worker's own modules, core, sut, qsl, errors and the protobuf stubs.
"""
