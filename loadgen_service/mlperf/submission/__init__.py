"""Submission folder: layout, checks, rules by round.

In: run directories. Out: a folder, or what is missing from it.
May import: mlperf's own modules, core and errors.
"""
