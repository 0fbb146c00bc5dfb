"""Facts of a run that figures and findings read.

In: counts, columns and statistics. Out: frozen values.
May import: core's own modules; stays pure.
"""
