"""Pacers: which queries are due now, and when to wake.

In: the current instant and completions. Out: ranges to issue.
May import: core's own modules; stays pure.
"""
