"""Searches over series: peak rate and rate sweeps.

In: verdicts of finished series. Out: the next series to run.
May import: core's own modules; stays pure.
"""
