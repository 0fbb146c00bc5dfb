"""Which queries are traced, and their spans.

In: settings and record rows. Out: spans.
May import: core's own modules; stays pure.
"""
