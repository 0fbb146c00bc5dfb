"""Summary of a run: a versioned JSON document.

In: figures, verdicts and settings. Out: the fields of summary.json.
May import: core's own modules; stays pure.
"""
