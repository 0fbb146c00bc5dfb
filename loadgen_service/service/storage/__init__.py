"""Run directory: journal, segments, column files.

In: events and batches. Out: durable files, read again after a restart.
May import: service's own modules, core and errors.
"""
